"""Composing: what a touch says, from its own body or from a template. The seam for any other author."""

from __future__ import annotations

from pipeline.composer.files import TemplateFiles, described
from pipeline.composer.port import Composer, NotComposable
from pipeline.composer.template import TemplateComposer

__all__ = ["Composer", "NotComposable", "TemplateComposer", "TemplateFiles", "described"]
