/* SPDX-License-Identifier: BSD-3-Clause */
/* How far a long request is, on one line of the terminal. */
#include "cli.h"
#include "print.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH 30

/* Redrawn this often, whatever the library thinks. */
#define INTERVAL_MS 100

static bool drawn;

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void draw(const char *what, uint64_t done, uint64_t total)
{
	char bar[BAR_WIDTH + 1];

	bar_text(bar, BAR_WIDTH, done, total);
	if (total)
		fprintf(stderr, "\r%s [%s] %3.0f%%\033[K", what, bar,
			100.0 * (double)done / (double)total);
	else
		fprintf(stderr, "\r%s %" PRIu64 "\033[K", what, done);
	fflush(stderr);
	drawn = true;
}

void cli_progress(const char *what, uint64_t done, uint64_t total)
{
	static uint64_t last_ms;
	uint64_t now = now_ms();

	if (!isatty(STDERR_FILENO) || now - last_ms < INTERVAL_MS)
		return;
	last_ms = now;
	draw(what, done, total);
}

void cli_progress_end(void)
{
	if (drawn)
		fputs("\r\033[K", stderr);
	drawn = false;
}
