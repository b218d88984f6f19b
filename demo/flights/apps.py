"""The app's configuration."""

from django.apps import AppConfig


class FlightsConfig(AppConfig):
    name = "demo.flights"
    label = "flights"
    verbose_name = "Flights"
