"""Django settings, derived from the settings of a deployment in `webapp.env`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import django_stubs_ext
from celery.schedules import crontab
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from webapp.env import ROOT, VERSION, env
from workers import starter

django_stubs_ext.monkeypatch()

BASE_DIR = ROOT
DEBUG = env.debug
ALLOWED_HOSTS = [host.strip() for host in env.allowed_hosts.split(",") if host.strip()]


def _secret_key() -> str:
    """The key of the deployment; with DEBUG it is made once and kept in var/."""
    if env.secret_key:
        return env.secret_key
    if not DEBUG:
        raise ImproperlyConfigured("SECRET_KEY is not set. Make one with: openssl rand -base64 48")
    kept = env.var / "secret_key"
    if not kept.exists():
        env.var.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(48))
    return kept.read_text()


SECRET_KEY = _secret_key()


def _database(url: str) -> dict[str, Any]:
    """Read postgresql://user:password@host:port/name?host=/socket/folder into Django's form."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured("DATABASE_URL must begin with postgresql://. Longhand runs on PostgreSQL only.")
    query = dict(parse_qsl(parts.query))
    host = query.pop("host", "") or parts.hostname or ""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(parts.port or ""),
        "CONN_HEALTH_CHECKS": True,
        # Under ASGI each request has its own thread, so a connection kept by a thread would never be reused.
        "OPTIONS": {**query, "pool": {"min_size": 0, "max_size": 16, "timeout": 20}},
    }


DATABASES = {"default": _database(env.database_url or f"postgresql://longhand@/longhand?host={env.var}/postgres")}
REDIS_URL = env.redis_url or f"unix://{env.var}/redis/redis.sock"
SITE_URL = env.site_url.rstrip("/")
VAR = env.var
LONGHAND_VERSION = VERSION

# The model, and the limits of one person
MODEL, MODEL_PATH, MODEL_NAME = env.served_model, env.model_path, env.model_name
MODEL_IS_DEMO, MODEL_IS_STARTER = env.is_demo, env.is_starter
STARTER_PROBLEM = os.environ.get(starter.PROBLEM, "")
MODEL_SERVER_URL, MODEL_SERVER_KEY = env.model_server_url.rstrip("/"), env.model_server_key
TEACHER_URL, TEACHER_MODEL, TEACHER_KEY = env.teacher_url.rstrip("/"), env.teacher_model or MODEL, env.teacher_key
TEACHER_OUTSIDE = bool(TEACHER_URL) and not env.teacher_inside
if not TEACHER_URL:
    TEACHER_URL, TEACHER_KEY = MODEL_SERVER_URL, MODEL_SERVER_KEY
JUDGE_URL, JUDGE_MODEL, JUDGE_KEY = env.judge_url.rstrip("/"), env.judge_model or TEACHER_MODEL, env.judge_key
JUDGE_OUTSIDE = bool(JUDGE_URL) and not env.judge_inside
if not JUDGE_URL:
    JUDGE_URL, JUDGE_KEY, JUDGE_OUTSIDE = TEACHER_URL, TEACHER_KEY, TEACHER_OUTSIDE
SECOND_JUDGE_URL, SECOND_JUDGE_KEY = env.second_judge_url.rstrip("/"), env.second_judge_key
SECOND_JUDGE_MODEL, SECOND_JUDGE_OUTSIDE = env.second_judge_model or MODEL, not env.second_judge_inside
STORIES_AT_ONCE, WORDS_PER_DAY = env.stories_at_once, env.words_per_day
PAIRS_PER_DAY = env.pairs_per_day
STUDIO_DISK_GB = env.studio_disk_gb
MACHINE_ADDRESS = env.machine_address
MODEL_CONTEXT, MODEL_THINKING, STREAMS, LEASE_SECONDS = env.model_context, env.thinking, env.streams, env.lease_seconds

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "channels",
    "django_vite",
    "csp",
    "django_structlog",
    "writer.accounts",
    "writer.stories",
    "writer.editorial",
    "writer.studio",
    "workers.narrator",
    "workers.jobs",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "webapp.middleware.Measure",
]

ROOT_URLCONF = "webapp.urls"
ASGI_APPLICATION = "webapp.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "writer" / "frontend" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "writer.stories.context.site",
            ]
        },
    }
]

# People
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "stories"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # accounts come by invitation only
ACCOUNT_ADAPTER = "writer.accounts.adapter.InvitedOnly"
ACCOUNT_RATE_LIMITS = {"login_failed": "5/5m/key,20/5m/ip", "login": "30/m/ip"}
ACCOUNT_SESSION_REMEMBER = True
ALLAUTH_TRUSTED_CLIENT_IP_HEADER = env.client_ip_header or None
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Longhand"
USERSESSIONS_TRACK_ACTIVITY = False  # a write to the database at every request

# Cache and channel layer: rate limits and wake-up calls, never texts.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
}

# Celery: the state is in the database, so a task is acknowledged when it is received, and is not delivered twice.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_TASK_IGNORE_RESULT = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE = {"clear away": {"task": "workers.jobs.tasks.clear_away", "schedule": crontab(hour=3, minute=20)}}

# Pages
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
STATIC_ROOT = env.var / "static"
STATICFILES_DIRS: list[Path | tuple[str, Path]] = [
    ROOT / "writer" / "frontend" / "dist",
    ("help", ROOT / "docs" / "pictures"),
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = DEBUG
DJANGO_VITE = {"default": {"dev_mode": False, "manifest_path": ROOT / "writer/frontend/dist/manifest.json"}}
if DEBUG:
    STATIC_ROOT.mkdir(mode=0o700, parents=True, exist_ok=True)  # empty, but whitenoise requires it
    STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"

# Security
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 2**20  # a million characters, each written as JSON's \uXXXX
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = False  # the page's own scripts send it back as a header
CSRF_FAILURE_VIEW = "writer.accounts.views.csrf_failure"
CSRF_TRUSTED_ORIGINS = [SITE_URL] if SITE_URL else []
if not DEBUG and env.behind_https:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# Mail
DEFAULT_FROM_EMAIL = env.email_from
MAIL_CONFIGURED = bool(env.email_url and SITE_URL)  # a mail needs the address of the site for its links
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
if env.email_url:
    _mail = urlsplit(env.email_url)
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST = _mail.hostname or ""
    EMAIL_PORT = _mail.port or (465 if _mail.scheme == "smtps" else 587)
    EMAIL_HOST_USER = unquote(_mail.username or "")
    EMAIL_HOST_PASSWORD = unquote(_mail.password or "")
    EMAIL_USE_SSL = _mail.scheme == "smtps"
    EMAIL_USE_TLS = _mail.scheme == "smtp" and bool(EMAIL_HOST_USER)

LOGGING_CONFIG = "webapp.logs.configure"
LOGGING = {"json": env.log_json, "debug": DEBUG}
