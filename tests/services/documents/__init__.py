"""Tests of the extraction of documents."""
