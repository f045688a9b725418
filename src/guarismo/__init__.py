"""Guarismo."""
