"""Verifies webhooks with the Standard Webhooks library that PyPI publishes; how it is asked stands in install-test-tools."""

import json
import sys

from standardwebhooks.webhooks import Webhook


def verdict(line):
    try:
        question = json.loads(line)
        Webhook(question["secret"]).verify(question["body"], question["headers"])
        return {"ok": True}
    except Exception as error:
        return {"ok": False, "error": str(error)}


for line in sys.stdin:
    print(json.dumps(verdict(line)), flush=True)
