"""What an evaluation shows: tables, plots and one HTML page."""
