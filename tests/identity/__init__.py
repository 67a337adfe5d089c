"""Tests of the identity service: its parts by themselves, and its calls over a real store."""
