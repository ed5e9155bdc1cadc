"""The fake upstream: nginx with Lua, so that it is never the bottleneck. Debian: nginx-light libnginx-mod-http-lua."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.bench.process import Running

PORT = 9000
URL = f"http://127.0.0.1:{PORT}"
PIECES = 200
"""Pieces of a stream in the burst measurement. They differ, for LiteLLM ends a stream that repeats itself."""

SLOW_PIECES = 100
"""Pieces of a slow stream, ten a second."""

WORDS = "The quick brown fox jumps over the lazy dog. " * 24

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_760_000_000,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 250, "completion_tokens": 240, "total_tokens": 490},
}

CONF = """
load_module modules/ndk_http_module.so;
load_module modules/ngx_http_lua_module.so;
worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 3600;
  client_max_body_size 0;
  client_body_buffer_size 8m;
  {temp}
  default_type application/json;
  init_by_lua_block {{
    function content(name)
      local file = io.open("{dir}/files/" .. name)
      local text = file:read("*a")
      file:close()
      return text
    end
    BURST, WHOLE = content("burst"), content("whole")
    function first()
      ngx.header["content-type"] = "text/event-stream"
      ngx.print('{piece}')
      ngx.flush(true)
      ngx.sleep(0.005)
      ngx.print('{end}')
    end
  }}
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    root {dir}/files;
    location = /storage/1k {{ return 200 '{kilobyte}'; }}
    location = /storage/wait {{ content_by_lua_block {{ ngx.sleep(2) ngx.print("waited") }} }}
    location = /storage/down {{ try_files /100mb =404; }}
    location = /storage/up {{
      content_by_lua_block {{
        local body, n = ngx.req.socket(), 0
        while body do
          local data = body:receiveany(262144)
          if not data then break end
          n = n + #data
        end
        ngx.print(n)
      }}
    }}
    location ~ ^/forms/(.+)$ {{
      content_by_lua_block {{
        ngx.req.read_body()
        local body, kind, suffix = ngx.req.get_body_data(), "application/json", "_whole"
        if body:find('"tools"', 1, true) then suffix = "_tools" end
        if body:find('"stream":%s*true') then kind, suffix = "text/event-stream", "_stream" end
        ngx.header["content-type"] = kind
        FORMS = FORMS or {{}}
        local name = ngx.var[1]:gsub("^api/chat$", "ollama"):gsub("/", "_") .. suffix
        FORMS[name] = FORMS[name] or content(name)
        ngx.print(FORMS[name])
      }}
    }}
    location ~ /models$ {{ return 200 '{models}'; }}
    location = /whole/chat/completions {{
      content_by_lua_block {{
        ngx.req.read_body()
        if ngx.req.get_body_data():find('"stream":%s*true') then return first() end
        ngx.header["content-length"] = #WHOLE
        ngx.print(WHOLE)
      }}
    }}
    location = /first/chat/completions {{ content_by_lua_block {{ ngx.req.read_body() first() }} }}
    location = /burst/chat/completions {{
      content_by_lua_block {{
        ngx.req.read_body()
        ngx.header["content-type"] = "text/event-stream"
        ngx.print(BURST)
      }}
    }}
    location = /slow/chat/completions {{
      content_by_lua_block {{
        ngx.req.read_body()
        ngx.header["content-type"] = "text/event-stream"
        for i = 1, {slow_pieces} do
          ngx.update_time()
          ngx.print(string.format('{piece}', ngx.now()))
          if not ngx.flush(true) then return end
          ngx.sleep(0.1)
        end
        ngx.print('{end}')
      }}
    }}
  }}
}}
"""


def event(delta: dict[str, str], finish: str | None = None) -> str:
    """One event of a stream."""
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"


END = event({}, "stop") + "data: [DONE]\n\n"


def configuration(directory: Path) -> str:
    """nginx's configuration; everything it writes is below `directory`."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return CONF.format(
        dir=directory,
        port=PORT,
        temp=" ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds),
        kilobyte="x" * 1024,
        models=json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}),
        slow_pieces=SLOW_PIECES,
        piece=event({"content": "@%.3f@"}).replace("\n", "\\n"),
        end=END.replace("\n", "\\n"),
    )


@contextmanager
def fake_upstream(directory: Path, *, cores: str) -> Iterator[Running]:
    """Run it for the block."""
    if not shutil.which("nginx"):
        raise SystemExit("the bench needs nginx: apt-get install nginx-light libnginx-mod-http-lua")
    files = directory / "files"
    files.mkdir(parents=True, exist_ok=True)
    with (files / "100mb").open("wb") as file:
        file.truncate(100_000_000)
    (files / "burst").write_text("".join(event({"content": f"token {i} "}) for i in range(PIECES)) + END)
    (files / "whole").write_text(json.dumps(COMPLETION))
    conf = directory / "upstream.conf"
    conf.write_text(configuration(directory))
    with Running(["nginx", "-c", str(conf)], cores=cores, name="upstream") as running:
        running.wait_until_ready(PORT)
        yield running
