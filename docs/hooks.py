"""What `make docs` adds to the pages in this folder: others that lie elsewhere in the project, and the reference."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = {'contributing.md': 'CONTRIBUTING.md', 'changes.md': 'CHANGELOG.md'}
PAGES |= {
    f'methods/{path.parent.name}.md': str(path.relative_to(ROOT)) for path in ROOT.glob('jfrecon/methods/*/README.md')
}
PACKAGES = (
    'types', 'geometry', 'shading', 'morphable', 'render', 'losses', 'methods', 'data', 'fitting', 'reconstruction',
    'export',
)  # fmt: skip
LINK = re.compile(r'(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)')


def on_files(files, config):
    """Add the pages."""
    for name, source in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding='utf-8')))
    for package in PACKAGES:
        modules = '\n\n'.join(f'::: {module}' for module in names(package))
        files.append(File.generated(config, f'reference/{package}.md', content=f'# jfrecon.{package}\n\n{modules}\n'))
    return files


def names(package: str) -> list[str]:
    """Public modules of a package, itself first."""
    folder = ROOT / 'jfrecon' / package
    if not folder.is_dir():
        return [f'jfrecon.{package}']
    found = []
    for path in sorted(folder.rglob('*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts
        if not any(part.startswith('_') and part != '__init__' for part in parts):
            found.append('.'.join(parts).removesuffix('.__init__'))
    return found


def on_page_markdown(markdown, page, config, files):
    """Turn links to the project's files into links of the site: modules into the reference, the rest into names."""
    mine, docs = page.file.src_uri, ROOT / 'docs'
    source = ROOT / PAGES.get(mine, f'docs/{mine}')
    pages = {ROOT / path: name for name, path in PAGES.items()}
    up = '../' * mine.count('/')

    def link(found: re.Match) -> str:
        text, where, anchor = found[1], found[2], found[3] or ''
        target = (source.parent / where).resolve()
        if '://' in where or not target.is_relative_to(ROOT) or (mine not in PAGES and docs in target.parents):
            return found[0]
        if target.parent == docs:
            return f'[{text}]({up}{target.name}{anchor})'
        if target in pages:
            return f'[{text}]({up}{pages[target]}{anchor})'
        module = '.'.join(target.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
        if target.suffix == '.py' and module.split('.')[1:2] and module.split('.')[1] in PACKAGES:
            return f'[{text}][{module}]'
        return f'{text} (`{target.relative_to(ROOT)}`)' if target.exists() else found[0]

    return LINK.sub(link, markdown)
