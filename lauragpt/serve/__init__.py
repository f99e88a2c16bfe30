"""Serving: the verbs over HTTP and WebSocket, and for assistants."""
