"""An audit as HTML: one page that holds everything it shows, and a fragment for notebooks."""

from prefeq.llm.page.page import fragment, page

__all__ = ["fragment", "page"]
