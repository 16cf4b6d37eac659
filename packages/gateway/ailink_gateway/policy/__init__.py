"""Policies: rules as data, validated when they are saved and compiled once into closures that judge calls.

``compiler`` reads a document; ``judge`` runs what it made. Nothing here opens a socket, reads the store or knows a
stage: limits, spend, targets and webhooks are handed in by whoever runs a policy (``run.Run``).
"""
