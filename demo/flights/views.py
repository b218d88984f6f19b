"""Pages of a carrier. No query here names a tenant: the middleware has set it."""

from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import Avg, Count
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render

from demo.flights.dataset import carriers
from demo.flights.models import Flight
from mtdd_router import current_tenant
from tenants.models import Tenant

__all__ = ["flight_list", "home", "person"]

_PER_PAGE = 50


def home(request: HttpRequest) -> HttpResponse:
    """Show the carrier of this request, or all of them if there is none."""
    if current_tenant() is None:
        names = {carrier.tenant: carrier.name for carrier in carriers()}
        tenants = [
            {"name": tenant.name, "title": names.get(tenant.name, tenant.name), "tenant": tenant}
            for tenant in Tenant.objects.select_related("shard")
        ]
        return render(request, "flights/carriers.html", {"tenants": tenants})
    routes = (
        Flight.objects.values("origin", "destination")
        .annotate(flights=Count("pk"), delay=Avg("arrival_delay_minutes"))
        .order_by("-flights")[:15]
    )
    figures = Flight.objects.aggregate(
        flights=Count("pk"),
        arrived=Count("arrival_delay_minutes"),
        delay=Avg("arrival_delay_minutes"),
    )
    return render(
        request, "flights/carrier.html", {"title": _title(), "routes": routes, "figures": figures}
    )


def flight_list(request: HttpRequest) -> HttpResponse:
    """Show the carrier's flights; with ``?late=60`` those over an hour late, worst first."""
    _title()
    flights = Flight.objects.select_related("plane")
    late = request.GET.get("late", "")
    if late.isascii() and late.isdigit():
        flights = flights.late(min(int(late), 10_000)).order_by("-arrival_delay_minutes", "pk")
    page = Paginator(flights, _PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "flights/flights.html", {"title": _title(), "page": page, "late": late})


def person(_request: HttpRequest, pk: int) -> JsonResponse:
    """Answer with a user of the carrier: the same id is another person elsewhere."""
    _title()
    user = get_object_or_404(User, pk=pk)
    return JsonResponse({"id": user.pk, "username": user.username, "name": user.get_full_name()})


def _title() -> str:
    tenant = current_tenant()
    if tenant is None:
        raise Http404("A page of a carrier needs its name: /t/ua/flights/")
    return {carrier.tenant: carrier.name for carrier in carriers()}.get(tenant, tenant)
