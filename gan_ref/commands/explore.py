"""The command ``explore RUN --out page.html``: a page that runs the generator in a browser. For runs in the
plane it is the laboratory, which shows their training.
"""

import http.server
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from gan_ref.checkpoint import LoadedGenerator, load_generator
from gan_ref.commands.command_line import Parser, command, output_file
from gan_ref.data import open_training
from gan_ref.errors import UserError
from gan_ref.explore.laboratory import Training, make_laboratory
from gan_ref.explore.page import make_page
from gan_ref.files import write_atomically
from gan_ref.watch.moments import SPAN, read_moments


@command
def main(argv: Sequence[str] | None = None) -> None:
    description = "Make one HTML file: of a run of images a page that runs its generator in a browser, "
    description += "of one to four runs in the plane a page that shows their training."
    parser = Parser(prog="gan-ref explore", description=description)
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="a run folder, a checkpoint or demo; in the plane up to four")
    add("--out", metavar="FILE", help="the page to write: page.html")
    serving = "open the page from a small server on this machine, until Ctrl-C"
    add("--serve", action="store_true", help=serving)
    offline = "embed the copy of onnxruntime-web 1.30.0 in DIR: no network is needed"
    add("--offline", metavar="DIR", help=offline)
    asked = "the class that a conditional G draws [the page has a menu]"
    add("--class", dest="label", metavar="NAME", help=asked)
    given = parser.parse_args(argv)
    if not (given.out or given.serve):
        raise UserError("nothing to do: give --out page.html, or --serve, or both")
    out = output_file(given.out, (".html",)) if given.out else None
    generators = [load_generator(run) for run in given.runs]
    in_plane = {generator.config.points for generator in generators}
    if in_plane == {True}:
        if given.label is not None or given.offline:
            raise UserError("--class and --offline are for runs of images; the laboratory shows the plane")
        page = make_laboratory([training(*pair) for pair in zip(given.runs, generators)])
    elif len(generators) == 1:
        page = make_page(generators[0], given.runs[0], given.offline, label=given.label)
    else:
        raise UserError("a page holds one run of images, or up to four runs in the plane")
    if out:
        with write_atomically(out) as part:
            part.write_text(page, encoding="utf-8")
        print(f"{out}: {len(page.encode()) / 1e6:.1f} MB, to be opened in a browser")
    if given.serve:
        with serve(page) as server:
            address = f"http://127.0.0.1:{server.server_address[1]}/"
            print(f"{address} has the page until Ctrl-C", flush=True)
            webbrowser.open(address)
            server.serve_forever()


def training(run: str, generator: LoadedGenerator) -> Training:
    """What a run in the plane has recorded of itself."""
    rounds, moments = read_moments(generator.path.parent)
    name = Path(run).resolve().name
    return Training(name, generator.config, open_training(generator.config), rounds, moments, SPAN)


def serve(page: str) -> http.server.HTTPServer:
    """A server on the loopback address, at a port that is free, that answers "/" with the page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.partition("?")[0] == "/"
            content = page.encode() if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
