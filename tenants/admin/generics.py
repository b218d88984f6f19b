"""ModelAdmin and ModelForm with a type parameter, which Django's have in stubs only."""

from typing import TYPE_CHECKING

from django import forms
from django.contrib import admin

__all__ = ["ModelAdmin", "ModelForm"]

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin
    ModelForm = forms.ModelForm
else:

    class ModelAdmin(admin.ModelAdmin):
        """``admin.ModelAdmin``, whose parameter means nothing at run time."""

        def __class_getitem__(cls, _model):
            return cls

    class ModelForm(forms.ModelForm):
        """``forms.ModelForm``, likewise."""

        def __class_getitem__(cls, _model):
            return cls
