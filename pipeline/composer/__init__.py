"""Composes a touch's content from its body or from a template. Another author can be plugged in here."""

from __future__ import annotations

from pipeline.composer.files import TemplateFiles, described
from pipeline.composer.port import Composer, NotComposable
from pipeline.composer.template import TemplateComposer

__all__ = ["Composer", "NotComposable", "TemplateComposer", "TemplateFiles", "described"]
