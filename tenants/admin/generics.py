"""Django's ModelAdmin, TabularInline, ModelForm and ModelChoiceField as their stubs have them."""

from typing import TYPE_CHECKING

from django import forms
from django.contrib import admin

__all__ = ["ModelAdmin", "ModelChoiceField", "ModelForm", "TabularInline"]

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin
    ModelChoiceField = forms.ModelChoiceField
    ModelForm = forms.ModelForm
    TabularInline = admin.TabularInline
else:

    class ModelAdmin(admin.ModelAdmin):
        """``admin.ModelAdmin``, whose parameter means nothing at run time."""

        def __class_getitem__(cls, _model):
            return cls

    class ModelChoiceField(forms.ModelChoiceField):
        """``forms.ModelChoiceField``, likewise."""

        def __class_getitem__(cls, _model):
            return cls

    class ModelForm(forms.ModelForm):
        """``forms.ModelForm``, likewise."""

        def __class_getitem__(cls, _model):
            return cls

    class TabularInline(admin.TabularInline):
        """``admin.TabularInline``, likewise."""

        def __class_getitem__(cls, _models):
            return cls
