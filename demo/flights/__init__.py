"""Flights of a carrier: a tenant app, where each carrier is a tenant."""
