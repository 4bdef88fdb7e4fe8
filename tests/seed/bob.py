"""Receives an image: bob.py HOST PORT IMAGE. Port 0 takes a free one; what was taken is printed."""

import socket
import sys

CHUNK = 1024


def main(host, port, image):
    with socket.create_server((host, int(port)), backlog=1) as listener:
        print("listening on {}:{}".format(*listener.getsockname()), flush=True)
        connection, client = listener.accept()
        print("connected by {}:{}".format(*client), flush=True)
        with connection, open(image, "wb") as file:
            while chunk := connection.recv(CHUNK):
                file.write(chunk)
    print(f"image received and saved as {image}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: bob.py HOST PORT IMAGE")
    main(*sys.argv[1:])
