"""Admin pages whose saving and deleting is done by a service.

Invariant: what a service refuses becomes an error of the form, or a message; nothing is
saved then.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar, cast

from django.contrib.admin import helpers
from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import PermissionDenied
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from mtdd_router.errors import MTDDError
from tenants.admin.generics import ModelForm
from tenants.admin.registry import RegistryAdmin, guarded
from tenants.models import Job

__all__ = ["ServiceAdmin"]

M = TypeVar("M", bound=Model)


class ServiceAdmin(RegistryAdmin[M], Generic[M]):
    """A RegistryAdmin that leaves the work to services."""

    # Which field of the form an error belongs to; others are the whole form's.
    error_fields: ClassVar[Mapping[type[Exception], str]] = {}
    # Whether `create` asks for a job, which is then shown in any case.
    creates_by_jobs: ClassVar[bool] = False
    delete_template = "admin/tenants/delete.html"

    # What a subclass does, as far as it gives permission to it

    def create(self, request: HttpRequest, form: ModelForm[M]) -> M | Job:
        """Create what the form describes, through the service, or ask for a job that does."""
        raise NotImplementedError

    def change(self, original: M, form: ModelForm[M]) -> M:
        """Change *original* as the form says, through the service."""
        raise NotImplementedError

    def remove(self, obj: M) -> None:
        """Remove *obj*, through the service."""
        raise NotImplementedError

    def losses(self, obj: M) -> Mapping[str, object]:
        """Return what a deletion loses, for the page that asks."""
        raise NotImplementedError

    def delete_words(self, obj: M) -> tuple[str, str]:  # noqa: ARG002 - for subclasses
        """Return what stands above the losses of a deletion, and on its button."""
        return _("This will be lost for ever:"), _("Delete for ever")

    def must_type(self, obj: M) -> str:  # noqa: ARG002 - for subclasses
        """Return what has to be typed to delete *obj*; nothing by default."""
        return ""

    # Views

    @guarded
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        pressed = object_id is not None and any(
            name in request.POST for name in self.object_actions
        )
        if request.method != "POST" or pressed:
            return super().changeform_view(request, object_id, form_url, extra_context)
        obj = None if object_id is None else self.found(request, object_id)
        allowed = (
            self.has_add_permission(request)
            if obj is None
            else self.has_change_permission(request, obj)
        )
        if not allowed:
            raise PermissionDenied
        form = self._form(request, obj)
        original = None if object_id is None else self.found(request, object_id)
        saved = self._save(request, form, original) if form.is_valid() else None
        if saved is None:
            return self._invalid(request, object_id, form, form_url, extra_context)
        if isinstance(saved, Job):
            return self.asked_for(request, saved)
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
    @guarded
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self.found(request, object_id)
        if not self.has_delete_permission(request, obj):
            raise PermissionDenied
        wanted = self.must_type(obj)
        warning, button = self.delete_words(obj) if wanted else ("", _("Yes, remove it"))
        error = ""
        if request.method == "POST":
            if request.POST.get("typed_name", "").strip() != wanted:
                error = _("That is not its name; nothing was deleted.")
            else:
                with self.telling(request):
                    error = self.tried(lambda: self._delete(request, obj))
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

    # Parts of the views

    def page_context(self, request: HttpRequest, object_id: str | None) -> dict[str, Any]:
        context = super().page_context(request, object_id)
        if object_id is None and self.creates_by_jobs:
            context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return context

    def _form(self, request: HttpRequest, obj: M | None) -> ModelForm[M]:
        form_class = self.get_form(
            request,
            obj,
            change=obj is not None,
            fields=flatten_fieldsets(self.get_fieldsets(request, obj)),
        )
        return form_class(request.POST, request.FILES, instance=obj)

    def _save(self, request: HttpRequest, form: ModelForm[M], original: M | None) -> M | Job | None:
        """Return what the service made of a valid form, or None with the form's errors set."""
        try:
            return self.create(request, form) if original is None else self.change(original, form)
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
        obj = None if object_id is None else self.found(request, object_id)
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
            **self.page_context(request, object_id),
            **(extra_context or {}),
        }
        return self.render_change_form(
            request, context, add=obj is None, change=obj is not None, obj=obj, form_url=form_url
        )

    def _delete(self, request: HttpRequest, obj: M) -> None:
        self.remove(obj)
        # After it is gone: a deletion that failed is no deletion.
        self.log_deletions(request, cast(Any, [obj]))
