"""What outlives the process: tables, the queries on them, and migrations. SQL is written nowhere else.

Queries are plain functions of (connection, ...), run by ``Store`` in its own threads. Nothing here knows HTTP or opens
a secret.
"""
