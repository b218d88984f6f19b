"""The URLs of the runnable project: the admin, and the demo's pages."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("demo.flights.urls")),
]
