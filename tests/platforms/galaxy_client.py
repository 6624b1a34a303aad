"""Run by planemo's Python: a user of a Galaxy server, through bioblend. Reads a request as JSON, answers with JSON.

The request has url, key (the administrator's), email, uploads (name: path, type), tool, inputs (in which
{"upload": name} stands for a dataset) and folder, where the outputs are put. In place of everything after email it may
have workflow, which is imported and exported again.
"""

import json
import sys
from pathlib import Path
from typing import Any

from bioblend import ConnectionError as Refused
from bioblend.galaxy import GalaxyInstance

PASSWORD = "only-for-this-test"


def as_user(url: str, key: str, email: str) -> GalaxyInstance:
    admin = GalaxyInstance(url, key)
    users = {user["email"]: user["id"] for user in admin.users.get_users()}
    if email not in users:
        users[email] = admin.users.create_local_user(email.split("@")[0], email, PASSWORD)["id"]
    return GalaxyInstance(url, admin.users.get_or_create_user_apikey(users[email]))


def with_datasets(value: Any, datasets: dict[str, str]) -> Any:
    if isinstance(value, dict) and set(value) == {"upload"}:
        return {"src": "hda", "id": datasets[value["upload"]]}
    if isinstance(value, dict):
        return {name: with_datasets(inner, datasets) for name, inner in value.items()}
    return value


def main() -> None:
    request = json.load(sys.stdin)
    galaxy = as_user(request["url"], request["key"], request["email"])
    if "workflow" in request:
        taken = galaxy.workflows.import_workflow_dict(request["workflow"])
        json.dump(galaxy.workflows.export_workflow_dict(taken["id"]), sys.stdout)
        return
    history = galaxy.histories.create_history(request["tool"])["id"]
    datasets = {}
    for name, (path, kind) in request["uploads"].items():
        uploaded = galaxy.tools.upload_file(path, history, file_type=kind, file_name=name)
        datasets[name] = uploaded["outputs"][0]["id"]
    for dataset in datasets.values():
        galaxy.datasets.wait_for_dataset(dataset, maxwait=300, interval=1)
    answer: dict[str, Any] = {"history": history}
    try:
        inputs = with_datasets(request["inputs"], datasets)
        run = galaxy.tools.run_tool(history, request["tool"], inputs, input_format="21.01")
    except Refused as refusal:
        answer["refused"] = str(refusal.body)
    else:
        job = run["jobs"][0]["id"]
        galaxy.jobs.wait_for_job(job, maxwait=300, interval=1, check=False)
        answer["job"] = galaxy.jobs.show_job(job, full_details=True)
        answer["outputs"] = {}
        for output in run["outputs"]:
            shown = galaxy.datasets.wait_for_dataset(output["id"], maxwait=120, interval=1, check=False)
            path = Path(request["folder"], f"{output['output_name']}.{shown['extension']}")
            if shown["state"] == "ok":
                galaxy.datasets.download_dataset(output["id"], str(path), use_default_filename=False)
            answer["outputs"][output["output_name"]] = {
                "id": output["id"],
                "name": shown["name"],
                "state": shown["state"],
                "path": str(path),
            }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
