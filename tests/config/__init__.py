"""Tests of the configuration: loader, schema, faults, snapshot, commands."""
