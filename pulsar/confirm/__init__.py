"""Candidates looked for in a new observation: `pulsar follow`."""
