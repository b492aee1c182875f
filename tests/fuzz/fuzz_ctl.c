/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "cellar.h"
#include "control/peer.h"

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * What somebody sends to the control socket: lines, whole or not, in pieces.
 * The first byte says how long the pieces are (0: one piece).  A socket of
 * packets stands for the stream, so that pieces stay pieces.
 *
 * Afterwards the pool must be in order.
 */

#define MAX_INPUT    4096u
#define MAX_REQUESTS 24
#define MAX_PIECES   8u

static int nr_requests;

/* Not more of them than that: it is for depth, not for length. */
static int handle(void *ctx, const char *request, const struct thinbd_observer *observer,
		  char **ret_reply)
{
	if (++nr_requests > MAX_REQUESTS)
		return -1;
	return thinbd_request(ctx, request, observer, ret_reply);
}

static void send_pieces(int fd, const uint8_t *data, size_t size, size_t piece)
{
	for (size_t at = 0; at < size; at += piece) {
		size_t len = size - at < piece ? size - at : piece;

		MUST(send(fd, data + at, len, MSG_NOSIGNAL) == (ssize_t)len);
	}
	MUST(!shutdown(fd, SHUT_WR));
}

/* Somebody has to read the answers. */
static void *read_answers(void *arg)
{
	static char buf[1u << 16];

	while (recv(*(int *)arg, buf, sizeof(buf), 0) > 0)
		;
	return NULL;
}

static void talk(struct thinbd *t, const uint8_t *data, size_t size, size_t piece)
{
	struct thin_peer peer;
	pthread_t reader;
	int fd[2];

	MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd));
	send_pieces(fd[1], data, size, piece);
	MUST(!pthread_create(&reader, NULL, read_answers, &fd[1]));
	nr_requests = 0;
	thin_peer_init(&peer, fd[0], handle, t);
	thin_peer_run(&peer);
	thin_peer_fini(&peer);
	MUST(!pthread_join(reader, NULL));
	close(fd[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct thinbd_params params = {.command = "fuzz"};
	struct thinbd *t;
	size_t piece;

	if (size < 2 || size > MAX_INPUT)
		return 0;
	/* No more than MAX_PIECES fit into such a socket, whatever its buffers. */
	piece = data[0] ? data[0] : size;
	piece = piece < size / MAX_PIECES + 1 ? size / MAX_PIECES + 1 : piece;
	cellar_reset();
	params.dir = cellar_dir();
	MUST(!thinbd_open(&params, &t, NULL));
	talk(t, data + 1, size - 1, piece);
	MUST(!thinbd_close(t));
	cellar_check();
	return 0;
}
