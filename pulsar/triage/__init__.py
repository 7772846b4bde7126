"""Judging of candidates in a browser: the server, and what keeps the judgements."""
