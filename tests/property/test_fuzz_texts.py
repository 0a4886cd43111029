"""Recipes and configurations with anything in them are taken, or refused in one line."""

import json

from hypothesis import given

from tests.fuzz import configs, recipes
from tests.fuzz.settings import fuzz_settings


def test_recipes(tmp_path):
    @fuzz_settings()
    @given(recipes.recipes())
    def search(data):
        recipes.check(tmp_path, data)

    assert recipes.check(tmp_path, json.dumps(recipes.GOOD).encode())
    for text in recipes.TEXTS:
        recipes.check(tmp_path, text.encode())
    search()


def test_configurations(tmp_path):
    @fuzz_settings()
    @given(configs.configs())
    def search(case):
        configs.check(tmp_path, *case)

    assert configs.check(tmp_path, json.dumps(configs.GOOD).encode(), [])
    for text in configs.TEXTS:
        configs.check(tmp_path, text.encode(), [])
    search()
