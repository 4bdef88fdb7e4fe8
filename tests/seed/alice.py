"""Sends an image: alice.py HOST PORT IMAGE."""

import socket
import sys

CHUNK = 1024


def main(host, port, image):
    with socket.create_connection((host, int(port))) as connection, open(image, "rb") as file:
        while chunk := file.read(CHUNK):
            connection.sendall(chunk)
    print("image sent")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: alice.py HOST PORT IMAGE")
    main(*sys.argv[1:])
