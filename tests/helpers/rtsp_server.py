"""A real RTSP server (GStreamer's), run by the system's python3 because Debian's bindings belong to it.

    /usr/bin/python3 rtsp_server.py CLIP.mp4 PORT

serves the clip at rtsp://127.0.0.1:PORT/clip, to each client from its start and at its own speed, and says so in a line
on its standard output. CLIP holds H.264, and AAC if SOUND is given as a third argument; with UDP as the last one, the
server refuses TCP with status 461, as some cameras do.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402


def main() -> None:
    """Serves until it is killed."""
    clip, port, *options = sys.argv[1:]
    Gst.init(None)
    launch = f'filesrc location="{clip}" ! qtdemux name=d d.video_0 ! queue ! h264parse ! rtph264pay name=pay0 pt=96'
    if "sound" in options:
        launch += " d.audio_0 ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97"
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {launch} )")
    if "udp" in options:
        factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/clip", factory)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    sys.stdout.write(f"rtsp://127.0.0.1:{server.get_bound_port()}/clip\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
