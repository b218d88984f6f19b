from importlib import import_module

Migration = import_module("benchmarks.depot.migrations.0001_initial").Migration
