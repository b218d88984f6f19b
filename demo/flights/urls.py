"""The demo's pages; below ``/t/<tenant>/`` they are those of a carrier."""

from django.urls import path

from demo.flights import views

app_name = "flights"
urlpatterns = [
    path("", views.home, name="home"),
    path("flights/", views.flight_list, name="list"),
    path("people/<int:pk>/", views.person, name="person"),
]
