"""Other people's ways to keep recordings with their texts -> rows. user_data.py makes examples of them."""
