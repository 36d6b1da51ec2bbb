"""Sends a bouncing ball and a tone by WHIP with GStreamer: `/usr/bin/python3 gstreamer_sender.py URL`.

Run by the system's Python, which has GStreamer's bindings. Stops when its standard input is closed; exits with 77
where something that it needs is missing.
"""

import sys
import urllib.request

try:
    import gi

    for library in ("Gst", "GstSdp", "GstWebRTC"):
        gi.require_version(library, "1.0")
    from gi.repository import GLib, Gst, GstSdp, GstWebRTC
except (ImportError, ValueError) as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(77)

PIPELINE = """
webrtcbin name=peer bundle-policy=max-bundle
videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1 ! videoconvert
  ! vp8enc deadline=1 ! rtpvp8pay pt=96 ! application/x-rtp,media=video,encoding-name=VP8,payload=96 ! peer.
audiotestsrc is-live=true ! audioconvert ! audioresample
  ! opusenc ! rtpopuspay pt=100 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=100 ! peer.
"""

Gst.init(None)
try:
    pipeline = Gst.parse_launch(PIPELINE)
except GLib.Error as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(77)
peer = pipeline.get_by_name("peer")
loop = GLib.MainLoop()


def offered(promise: "Gst.Promise") -> None:
    promise.wait()
    reply = promise.get_reply()  # owns the offer
    peer.emit("set-local-description", reply.get_value("offer"), Gst.Promise.new())
    GLib.timeout_add(50, post)


def post() -> bool:
    """Sends the offer once all candidates are in it."""
    if peer.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE:
        return True
    offer = peer.get_property("local-description").sdp.as_text().replace("a=sendrecv", "a=sendonly")
    request = urllib.request.Request(sys.argv[1], offer.encode(), {"Content-Type": "application/sdp"})
    with urllib.request.urlopen(request) as response:
        _, answer = GstSdp.SDPMessage.new_from_text(response.read().decode())
    description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, answer)
    peer.emit("set-remote-description", description, Gst.Promise.new())
    return False


def negotiate(element: "Gst.Element") -> None:
    element.emit("create-offer", None, Gst.Promise.new_with_change_func(offered))


def told_to_stop(*_: object) -> bool:
    loop.quit()
    return False


peer.connect("on-negotiation-needed", negotiate)
GLib.io_add_watch(
    GLib.IOChannel.unix_new(sys.stdin.fileno()), GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, told_to_stop
)
pipeline.set_state(Gst.State.PLAYING)
loop.run()
pipeline.set_state(Gst.State.NULL)
