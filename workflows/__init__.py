"""The sources of .github/workflows/: `render(catalogue)` returns every file's text, `python -m workflows` writes them.

catalogue -> one module a workflow -> plain data -> yaml_text -> files. Pure, but for __main__. Imports the catalogue.
"""
