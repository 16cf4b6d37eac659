"""Telling people outside that something waits for them. It carries what the request is about, and never its body."""
