"""What all pages of the registry share: who sees them, buttons, and jobs that they ask for.

Invariants: the registry is the project's, so a tenant's own administrators are nobody
here. No page runs in a transaction of the registry's database, for the services' steps
must be visible while they run. What takes long is a job: a page asks for it, and shows it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect

from mtdd_router.context import current_tenant
from mtdd_router.errors import MTDDError
from tenants.admin.generics import ModelAdmin
from tenants.models import Job
from tenants.services.audit import acting
from tenants.services.notifying import collected_failures

__all__ = ["RegistryAdmin", "guarded", "permitted", "user_name"]

M = TypeVar("M", bound=Model)


guarded: Final = method_decorator(csrf_protect)


def user_name(request: HttpRequest) -> str:
    """Return who asks, for a job."""
    return str(request.user.get_username())


def permitted(request: HttpRequest, *permissions: str) -> bool:
    """Return whether the user has all of *permissions*, each as ``tenants.codename``."""
    return current_tenant() is None and bool(cast(Any, request.user).has_perms(permissions))


class RegistryAdmin(ModelAdmin[M], Generic[M]):
    """A ModelAdmin whose change form may have buttons, each of which does something."""

    # Buttons of the change form besides "Save", by the name they post.
    object_actions: ClassVar[Mapping[str, str]] = {}

    class Media:
        css = {"all": ("tenants/admin.css",)}

    # What a subclass does

    def act(self, request: HttpRequest, obj: M, action: str) -> str | Job:
        """Do one of `object_actions`; return the message for the user, or the job asked for."""
        raise NotImplementedError

    def available_actions(self, obj: M) -> dict[str, str]:  # noqa: ARG002 - for subclasses
        """Return those of `object_actions` that make sense for *obj*."""
        return dict(self.object_actions)

    def may_act(self, request: HttpRequest, obj: M, action: str) -> bool:  # noqa: ARG002
        """Whether the user may do one of `object_actions`: who may change *obj*, by default."""
        return self.has_change_permission(request, obj)

    def links(self, request: HttpRequest, obj: M) -> Sequence[tuple[str, str]]:  # noqa: ARG002
        """Return URL and text of what stands beside the link to the history of *obj*."""
        return ()

    def refresh_after(self, obj: M | None) -> int:  # noqa: ARG002 - for subclasses
        """Return the seconds after which the page of *obj*, or the list, is read again, or 0."""
        return 0

    # Who

    def has_module_permission(self, request: HttpRequest) -> bool:
        return current_tenant() is None and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return current_tenant() is None and super().has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return current_tenant() is None and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return current_tenant() is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return current_tenant() is None and super().has_delete_permission(request, obj)

    # Views

    @transaction.non_atomic_requests
    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        with self.telling(request):
            return super().add_view(request, form_url, extra_context)

    @transaction.non_atomic_requests
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        with self.telling(request):
            return super().change_view(request, object_id, form_url, extra_context)

    @transaction.non_atomic_requests
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"refresh_after": self.refresh_after(None), **(extra_context or {})}
        with self.telling(request):
            return super().changelist_view(request, context)

    @guarded
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method == "POST" and object_id is not None:
            action = next((name for name in self.object_actions if name in request.POST), "")
            if action:
                return self._perform(request, self.found(request, object_id), action)
        context = {**self.page_context(request, object_id), **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    def get_actions(
        self,
        request: HttpRequest,
        action_location: Any = None,  # since Django 6.1
    ) -> dict[str, Any]:
        """Offer no bulk deletion: each is confirmed by itself."""
        place = {} if action_location is None else {"action_location": action_location}
        actions = cast(dict[str, Any], super().get_actions(request, **place))
        actions.pop("delete_selected", None)
        return actions

    # Parts of the views

    def page_context(self, request: HttpRequest, object_id: str | None) -> dict[str, Any]:
        """Return what the templates of this app show of an object besides its form."""
        obj = None if object_id is None else self.get_object(request, unquote(object_id))
        if obj is None or not self.has_view_permission(request, obj):
            return {}
        actions = self.available_actions(obj)
        return {
            "object_actions": {
                name: label for name, label in actions.items() if self.may_act(request, obj, name)
            },
            "object_links": self.links(request, obj),
            "refresh_after": self.refresh_after(obj),
        }

    def for_each(
        self, request: HttpRequest, objects: Any, action: Callable[[M], object], done: str
    ) -> None:
        """Do *action* to each of *objects*, and say what came of it."""
        count = 0
        for obj in objects:
            came: list[object] = []
            if error := self.tried(lambda obj=obj, came=came: came.append(action(obj))):  # type: ignore[misc]
                self.message_user(request, error, messages.ERROR)
                continue
            if isinstance(came[0], Job):
                self.log_addition(request, cast(Any, came[0]), str(came[0]))
            self.log_change(request, obj, done)
            count += 1
        if count:
            self.message_user(request, f"{done}: {count}", messages.SUCCESS)

    def ask(self, request: HttpRequest, ask: Callable[[], Job], *about: M) -> HttpResponse | None:
        """Ask for a job about some objects, and show it; or say why it is refused."""
        asked: list[Job] = []
        if error := self.tried(lambda: asked.append(ask())):
            self.message_user(request, error, messages.ERROR)
            return None
        return self.asked_for(request, asked[0], *about)

    def asked_for(self, request: HttpRequest, job: Job, *about: M) -> HttpResponse:
        """Log that the user has asked for *job*, and show it, or the list if that is not theirs."""
        self.log_addition(request, cast(Any, job), str(job))
        for obj in about:
            self.log_change(request, obj, _("Asked for job %(job)s") % {"job": job})
        self.message_user(
            request, _("Job %(job)s waits for a worker.") % {"job": job}, messages.SUCCESS
        )
        if permitted(request, "tenants.view_job"):
            return self.redirect("tenants_job_change", job.pk)
        return self.redirect(f"{self.opts.app_label}_{self.opts.model_name}_changelist")

    def redirect(self, name: str, *arguments: Any) -> HttpResponseRedirect:
        """Go to a page of the admin."""
        return HttpResponseRedirect(self.url(name, *arguments))

    def url(self, name: str, *arguments: Any) -> str:
        """Return the address of a page of the admin."""
        return reverse(f"admin:{name}", args=arguments, current_app=self.admin_site.name)

    def found(self, request: HttpRequest, object_id: str) -> M:
        """Return the object.

        Raises:
            Http404: if there is none.
        """
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404(
                _("This %(name)s does not exist; it may have been deleted.")
                % {"name": self.opts.verbose_name}
            )
        return obj

    @contextmanager
    def telling(self, request: HttpRequest) -> Iterator[None]:
        """Note what is done as done by the user; say how receivers of signals fail meanwhile."""
        with acting(f"{user_name(request)} (admin)"), collected_failures() as failures:
            yield
        for failure in failures:
            self.message_user(request, failure, messages.WARNING)

    @staticmethod
    def tried(action: Callable[[], object]) -> str:
        """Do *action*; return what it failed with, or nothing."""
        try:
            action()
        except (MTDDError, DatabaseError) as exc:
            return str(exc)
        return ""

    def _perform(self, request: HttpRequest, obj: M, action: str) -> HttpResponse:
        if not (self.has_view_permission(request, obj) and self.may_act(request, obj, action)):
            raise PermissionDenied
        came: str | Job = ""

        def act() -> None:
            nonlocal came
            came = self.act(request, obj, action)

        error = self.tried(act)
        if error:
            self.message_user(request, error, messages.ERROR)
        elif isinstance(came, Job):
            return self.asked_for(request, came, obj)
        else:
            self.log_change(request, obj, came)
            self.message_user(request, came, messages.SUCCESS)
        return self.redirect(f"{self.opts.app_label}_{self.opts.model_name}_change", obj.pk)
