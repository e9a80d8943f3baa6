"""What benchmarks say in the end."""

import json


def tell(results, goals, as_json):
    """Print results by name, one JSON object or a line each, with goals in words or numbers where there are any."""
    if as_json:
        print(json.dumps(results))
        return
    for name, value in results.items():
        goal = f"   goal {goals[name]}" if name in goals else ""
        print(f"{name:24}{value:10.3f}{goal}" if value < 10 else f"{name:24}{value:10.0f}{goal}")
