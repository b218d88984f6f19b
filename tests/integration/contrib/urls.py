"""The URLs of the project with a bookcase; imported when its app is installed."""

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import views as auth
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.admin import GenericTabularInline
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views import generic
from rest_framework import permissions, routers, serializers, viewsets

from mtdd_router import current_tenant
from tests.apps.bookcase.models import Author, Book, Note

site = admin.AdminSite()
site.register(User, UserAdmin)
site.register(Group, GroupAdmin)


class NoteInline(GenericTabularInline):
    model = Note
    ct_field = "content_type"
    extra = 1


class BookInline(admin.TabularInline):
    model = Book
    extra = 1


@admin.register(Author, site=site)
class AuthorAdmin(admin.ModelAdmin):
    search_fields = ("name",)
    inlines = (BookInline,)


@admin.register(Book, site=site)
class BookAdmin(admin.ModelAdmin):
    list_display = ("title", "author", "owner")
    list_filter = ("author",)
    search_fields = ("title", "author__name")
    autocomplete_fields = ("author",)
    inlines = (NoteInline,)


class BookForm(forms.ModelForm):
    # Both querysets are made when this module is imported, of which no tenant knows.
    author = forms.ModelChoiceField(Author.objects.all())
    owner = forms.ModelChoiceField(User.objects.filter(is_active=True), required=False)

    class Meta:
        model = Book
        fields = ("title", "author", "owner")


class Books(generic.ListView):
    queryset = Book.objects.all()

    def render_to_response(self, context, **kwargs):
        return HttpResponse(", ".join(str(book) for book in context["object_list"]))


class Saved:
    form_class = BookForm
    queryset = Book.objects.all()

    def form_valid(self, form):
        book = form.save()
        return HttpResponse(f"{book} of {book.author} in {book._state.db}")

    def form_invalid(self, form):
        return HttpResponse(form.errors.as_json(), status=400)


class AddBook(Saved, generic.CreateView):
    pass


class ChangeBook(Saved, generic.UpdateView):
    pass


class DeleteBook(generic.DeleteView):
    queryset = Book.objects.all()
    success_url = "/books/"


class BookSerializer(serializers.ModelSerializer):
    author_name = serializers.CharField(source="author.name", read_only=True)

    class Meta:
        model = Book
        fields = ("id", "title", "author", "author_name", "owner")


class AuthorSerializer(serializers.ModelSerializer):
    books = serializers.PrimaryKeyRelatedField(many=True, queryset=Book.objects.all())

    class Meta:
        model = Author
        fields = ("id", "name", "books")


class BookViewSet(viewsets.ModelViewSet):
    queryset = Book.objects.select_related("author")
    serializer_class = BookSerializer
    permission_classes = (permissions.DjangoModelPermissions,)


class AuthorViewSet(viewsets.ModelViewSet):
    queryset = Author.objects.prefetch_related("books")
    serializer_class = AuthorSerializer
    permission_classes = (permissions.AllowAny,)


router = routers.DefaultRouter()
router.register("books", BookViewSet)
router.register("authors", AuthorViewSet)


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.user.get_username() or 'nobody'} in {current_tenant()}")


def count(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def tell(request: HttpRequest) -> HttpResponse:
    messages.info(request, f"of {current_tenant()}")
    return HttpResponse("told")


def hear(request: HttpRequest) -> HttpResponse:
    return HttpResponse(", ".join(str(message) for message in messages.get_messages(request)))


urlpatterns = [
    path("admin/", site.urls),
    path("accounts/", include("django.contrib.auth.urls")),
    path("login/", auth.LoginView.as_view(template_name="admin/login.html", next_page="/who/")),
    path("who/", who),
    path("count/", count),
    path("tell/", tell),
    path("hear/", hear),
    path("books/", Books.as_view()),
    path("books/add/", AddBook.as_view()),
    path("books/<int:pk>/", ChangeBook.as_view()),
    path("books/<int:pk>/delete/", DeleteBook.as_view()),
    path("api/", include(router.urls)),
]
