"""A model hub on this machine: the API that the Hugging Face client uses to push."""

import base64
import http.server
import json
from typing import ClassVar

TOKEN = "hf_made_up_for_this_test"


class Hub(http.server.BaseHTTPRequestHandler):
    """Holds repositories in memory; large files arrive by Git LFS.

    Attributes:
        repositories: by name; whether private, and the files of the last commit.
        objects: content of the LFS files, by id.
        tokens: every `Authorization` header.
        refusing: whether every request to write is refused.
    """

    repositories: ClassVar[dict[str, dict]] = {}
    objects: ClassVar[dict[str, bytes]] = {}
    tokens: ClassVar[set[str]] = set()
    refusing = False

    def do_GET(self):
        name = self.path.removeprefix("/api/models/").split("?")[0]
        repository = self.repositories.get(name)
        if repository is None:
            return self.reply({}, 404)
        private = repository["private"]
        return self.reply({"id": name, "private": private, "siblings": []})

    def do_POST(self):
        body = self.body()
        self.tokens.add(self.headers.get("Authorization", ""))
        if self.refusing:
            return self.reply({"error": "no write access"}, 403)
        if self.path == "/api/repos/create":
            return self.create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        if self.path.endswith("/info/lfs/objects/batch"):
            entries = json.loads(body)["objects"]
            return self.reply({"objects": [self.lfs_upload(e) for e in entries]})
        path = self.path.removeprefix("/api/models/").partition("/main")[0]
        name, _, action = path.rpartition("/")
        if action == "preupload":
            entries = json.loads(body)["files"]
            return self.reply({"files": [self.upload_mode(e) for e in entries]})
        assert action == "commit", self.path
        return self.commit(name, [json.loads(line) for line in body.splitlines()])

    def do_PUT(self):
        self.objects[self.path.rpartition("/")[2]] = self.body()
        self.reply({})

    def create(self, request):
        name = f"{request['organization']}/{request['name']}"
        status = 409 if name in self.repositories else 200
        private = request.get("visibility") == "private"
        self.repositories.setdefault(name, {"private": private, "files": {}})
        self.reply({"url": f"{self.address()}/{name}", "name": name}, status)

    def upload_mode(self, entry):
        is_large = entry["path"].endswith(".safetensors")
        return {
            "path": entry["path"],
            "uploadMode": "lfs" if is_large else "regular",
            "shouldIgnore": False,
        }

    def lfs_upload(self, entry):
        href = f"{self.address()}/objects/{entry['oid']}"
        return entry | {"actions": {"upload": {"href": href}}}

    def commit(self, name, lines):
        files = self.repositories[name]["files"]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
        commit = f"{self.address()}/{name}/commit/{'0' * 40}"
        self.reply({"success": True, "commitUrl": commit, "commitOid": "0" * 40})

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def reply(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        """Logs nothing."""
