"""Admin pages whose saving and deleting is done by a service.

Invariants: no page here runs in a transaction of the registry's database, for the
services' steps must be visible while they run. What a service refuses becomes an
error of the form, or a message; nothing is saved then.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar, cast

from django.contrib import messages
from django.contrib.admin import helpers
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core.exceptions import PermissionDenied
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect

from mtdd_router.context import current_tenant
from mtdd_router.errors import MTDDError
from tenants.admin.generics import ModelAdmin, ModelForm
from tenants.services.notifying import collected_failures

__all__ = ["ServiceAdmin"]

M = TypeVar("M", bound=Model)

_csrf_protect = method_decorator(csrf_protect)


class ServiceAdmin(ModelAdmin[M], Generic[M]):
    """A ModelAdmin that leaves the work to services."""

    # Which field of the form an error belongs to; others are the whole form's.
    error_fields: ClassVar[Mapping[type[Exception], str]] = {}
    # Buttons of the change form besides "Save", by the name they post.
    object_actions: ClassVar[Mapping[str, str]] = {}
    delete_template = "admin/tenants/delete.html"

    class Media:
        css = {"all": ("tenants/admin.css",)}

    # What a subclass does

    @abstractmethod
    def create(self, form: ModelForm[M]) -> M:
        """Create what the form describes, through the service."""

    @abstractmethod
    def change(self, original: M, form: ModelForm[M]) -> M:
        """Change *original* as the form says, through the service."""

    @abstractmethod
    def remove(self, obj: M) -> None:
        """Remove *obj*, through the service."""

    @abstractmethod
    def losses(self, obj: M) -> Mapping[str, object]:
        """Return what a deletion loses, for the page that asks."""

    def delete_words(self, obj: M) -> tuple[str, str]:  # noqa: ARG002 - for subclasses
        """Return what stands above the losses of a deletion, and on its button."""
        return _("This will be lost for ever:"), _("Delete for ever")

    def must_type(self, obj: M) -> str:  # noqa: ARG002 - for subclasses
        """Return what has to be typed to delete *obj*; nothing by default."""
        return ""

    def act(self, obj: M, action: str) -> str:
        """Do one of `object_actions`, and return the message for the user."""
        raise NotImplementedError

    # The registry is the project's: a tenant's own administrators are nobody here, also
    # if the admin is served under the tenant's address.

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
        with self._telling(request):
            return super().add_view(request, form_url, extra_context)

    @transaction.non_atomic_requests
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        with self._telling(request):
            return super().change_view(request, object_id, form_url, extra_context)

    @transaction.non_atomic_requests
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        with self._telling(request):
            return super().changelist_view(request, extra_context)

    @_csrf_protect
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method != "POST":
            context = {"object_actions": self._actions_of(request, object_id)}
            return super().changeform_view(
                request, object_id, form_url, {**context, **(extra_context or {})}
            )
        obj = None if object_id is None else self._find(request, object_id)
        allowed = (
            self.has_add_permission(request)
            if obj is None
            else self.has_change_permission(request, obj)
        )
        if not allowed:
            raise PermissionDenied
        action = next((name for name in self.object_actions if name in request.POST), "")
        if obj is not None and action:
            return self._perform(request, obj, action)
        form = self._form(request, obj)
        saved = self._save(form, self._find(request, object_id)) if form.is_valid() else None
        if saved is None:
            return self._invalid(request, object_id, form, form_url, extra_context)
        message = self.construct_change_message(
            request,
            cast(Any, form),
            [],
            add=obj is None,
        )
        if obj is None:
            self.log_addition(request, saved, message)
            return self.response_add(request, saved)
        self.log_change(request, saved, message)
        return self.response_change(request, saved)

    @transaction.non_atomic_requests
    @_csrf_protect
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self._find(request, object_id)
        assert obj is not None
        if not self.has_delete_permission(request, obj):
            raise PermissionDenied
        wanted = self.must_type(obj)
        warning, button = self.delete_words(obj) if wanted else ("", _("Yes, remove it"))
        error = ""
        if request.method == "POST":
            if request.POST.get("typed_name", "").strip() != wanted:
                error = _("That is not its name; nothing was deleted.")
            else:
                with self._telling(request):
                    error = self._try(lambda: self._delete(request, obj))
            if not error:
                return self.response_delete(request, str(obj), int(obj.pk or 0))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Delete %(name)s?") % {"name": self.opts.verbose_name},
            "subtitle": None,
            "object": obj,
            "opts": self.opts,
            "losses": self.losses(obj),
            "warning": warning,
            "button": button,
            "typed_name": wanted,
            "error": error,
            "media": self.media,
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.delete_template, context)

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

    def for_each(
        self, request: HttpRequest, objects: Any, action: Callable[[M], object], done: str
    ) -> None:
        """Do *action* to each of *objects*, and say what came of it."""
        count = 0
        for obj in objects:
            if error := self._try(lambda obj=obj: action(obj)):  # type: ignore[misc]
                self.message_user(request, error, messages.ERROR)
            else:
                self.log_change(request, obj, done)
                count += 1
        if count:
            self.message_user(request, f"{done}: {count}", messages.SUCCESS)

    @contextmanager
    def _telling(self, request: HttpRequest) -> Iterator[None]:
        """Say how receivers of signals fail meanwhile."""
        with collected_failures() as failures:
            yield
        for failure in failures:
            self.message_user(request, failure, messages.WARNING)

    def _find(self, request: HttpRequest, object_id: str | None) -> M | None:
        if object_id is None:
            return None
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404(
                _("This %(name)s does not exist; it may have been deleted.")
                % {"name": self.opts.verbose_name}
            )
        return obj

    def _form(self, request: HttpRequest, obj: M | None) -> ModelForm[M]:
        form_class = self.get_form(
            request,
            obj,
            change=obj is not None,
            fields=flatten_fieldsets(self.get_fieldsets(request, obj)),
        )
        return form_class(request.POST, request.FILES, instance=obj)

    def _save(self, form: ModelForm[M], original: M | None) -> M | None:
        """Return what the service made of a valid form, or None with the form's errors set."""
        try:
            return self.create(form) if original is None else self.change(original, form)
        except (MTDDError, DatabaseError) as exc:
            field = next((f for kind, f in self.error_fields.items() if isinstance(exc, kind)), "")
            form.add_error(field if field in form.fields else None, str(exc))
            return None

    def _invalid(
        self,
        request: HttpRequest,
        object_id: str | None,
        form: ModelForm[M],
        form_url: str,
        extra_context: dict[str, Any] | None,
    ) -> HttpResponse:
        """Show the form again, with its errors."""
        obj = self._find(request, object_id)
        admin_form = helpers.AdminForm(
            form,
            cast(Any, self.get_fieldsets(request, obj)),
            {},
            self.get_readonly_fields(request, obj),
            model_admin=self,
        )
        title = _("Add %s") if obj is None else _("Change %s")
        context = {
            **self.admin_site.each_context(request),
            "title": title % self.opts.verbose_name,
            "subtitle": str(obj) if obj else None,
            "adminform": admin_form,
            "object_id": object_id,
            "original": obj,
            "is_popup": False,
            "to_field": None,
            "media": self.media + admin_form.media,
            "inline_admin_formsets": [],
            "errors": helpers.AdminErrorList(form, []),
            "preserved_filters": self.get_preserved_filters(request),
            "object_actions": self._actions_of(request, object_id),
            **(extra_context or {}),
        }
        return self.render_change_form(
            request, context, add=obj is None, change=obj is not None, obj=obj, form_url=form_url
        )

    def _perform(self, request: HttpRequest, obj: M, action: str) -> HttpResponse:
        said = ""

        def act() -> None:
            nonlocal said
            said = self.act(obj, action)

        if error := self._try(act):
            self.message_user(request, error, messages.ERROR)
        else:
            self.log_change(request, obj, said)
            self.message_user(request, said, messages.SUCCESS)
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return HttpResponseRedirect(reverse(name, args=(obj.pk,), current_app=self.admin_site.name))

    def _delete(self, request: HttpRequest, obj: M) -> None:
        self.remove(obj)
        # After it is gone: a deletion that failed is no deletion.
        self.log_deletions(request, cast(Any, [obj]))

    def _actions_of(self, request: HttpRequest, object_id: str | None) -> dict[str, str]:
        if object_id is None:
            return {}
        obj = self.get_object(request, unquote(object_id))
        if obj is None or not self.has_change_permission(request, obj):
            return {}
        return self.available_actions(obj)

    def available_actions(self, obj: M) -> dict[str, str]:  # noqa: ARG002 - for subclasses
        """Return those of `object_actions` that make sense for *obj*."""
        return dict(self.object_actions)

    @staticmethod
    def _try(action: Callable[[], object]) -> str:
        """Do *action*; return what it failed with, or nothing."""
        try:
            action()
        except (MTDDError, DatabaseError) as exc:
            return str(exc)
        return ""
