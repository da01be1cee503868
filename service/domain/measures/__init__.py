"""Measures: dated restrictions with their notices of reasons; imposed in one way, ended in one way, whoever asks."""
