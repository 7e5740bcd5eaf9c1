"""Encoders that count words or take feature rows."""
