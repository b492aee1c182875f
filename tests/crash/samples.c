/* SPDX-License-Identifier: BSD-3-Clause */
#include "samples.h"

#include "images.h"

#include "format/superblock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* thin_check sleeps most of its time: so many of them run side by side. */
#define BATCH 16
/* As many images for one run of the auditor. */
#define AUDIT_BATCH 64

#define THIN_CHECK "/usr/sbin/thin_check"
#define PYTHON	   "/usr/bin/python3"

struct samples {
	char dir[200];
	uint64_t max;
	unsigned audit_every;
	bool has_thin_check, has_auditor;
	struct seen seen;
	uint64_t added, checked, audited;
	unsigned nr, nr_audit; /* files that wait */
	char verdict[400];
};

static void path_of(const struct samples *sm, const char *kind, unsigned i, char *path,
		    size_t len)
{
	snprintf(path, len, "%s/%s-%03u", sm->dir, kind, i);
}

static int spawn(char *const argv[], pid_t *ret)
{
	extern char **environ;
	posix_spawn_file_actions_t fa;
	int r;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	r = posix_spawn(ret, argv[0], &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	return -r;
}

static bool succeeded(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       !WEXITSTATUS(status);
}

static int judge(struct samples *sm, const char *checker, const char *path)
{
	snprintf(sm->verdict, sizeof(sm->verdict), "%s found damage: %s", checker, path);
	return -EINVAL;
}

/* --- thin_check ----------------------------------------------------------------- */

static int show_thin_check(struct samples *sm)
{
	char path[BATCH][256];
	pid_t pid[BATCH];
	int r = 0;

	for (unsigned i = 0; i < sm->nr; i++) {
		char *const argv[] = {(char[]){THIN_CHECK}, (char[]){"-q"}, path[i],
				      NULL};

		path_of(sm, "check", i, path[i], sizeof(path[i]));
		if (spawn(argv, &pid[i]))
			abort();
	}
	for (unsigned i = 0; i < sm->nr; i++) {
		if (!succeeded(pid[i]) && !r)
			r = judge(sm, "thin_check", path[i]);
		sm->checked++;
	}
	sm->nr = 0;
	return r;
}

/* --- the auditor ------------------------------------------------------------------- */

static int show_auditor(struct samples *sm)
{
	char *argv[AUDIT_BATCH + 4] = {(char[]){PYTHON}, (char[]){THINBD_AUDITOR},
				       (char[]){"--batch"}};
	char path[AUDIT_BATCH][256];
	pid_t pid;

	if (!sm->nr_audit)
		return 0;
	for (unsigned i = 0; i < sm->nr_audit; i++) {
		path_of(sm, "audit", i, path[i], sizeof(path[i]));
		argv[3 + i] = path[i];
	}
	sm->audited += sm->nr_audit;
	sm->nr_audit = 0;
	if (spawn(argv, &pid))
		abort();
	return succeeded(pid) ? 0 : judge(sm, "audit.py", sm->dir);
}

/* --- the samples ------------------------------------------------------------------- */

static int save(struct samples *sm, const struct disk *d, const char *kind, unsigned i)
{
	char path[256];
	int r;

	path_of(sm, kind, i, path, sizeof(path));
	r = disk_save(d, path);
	if (r)
		snprintf(sm->verdict, sizeof(sm->verdict), "%s: %s", path, strerror(-r));
	return r;
}

/*
 * The auditor knows only block sizes that the kernel has.  The number stands
 * in the superblock and nowhere else: what it sees has another one there.
 */
static int save_for_auditor(struct samples *sm, const struct disk *d, unsigned i)
{
	struct thin_disk_superblock *sb;
	struct disk copy;
	int r;

	disk_init(&copy, 0);
	disk_copy(&copy, d);
	sb = (struct thin_disk_superblock *)copy.bytes;
	sb->data_block_size = le32_of(THIN_BLOCK_SIZE_KERNEL / THIN_SECTOR);
	thin_block_seal(THIN_SUPERBLOCK, copy.bytes, 0);
	r = save(sm, &copy, "audit", i);
	disk_fini(&copy);
	return r;
}

int samples_add(struct samples *sm, const struct disk *d, uint64_t state)
{
	int r = 0;

	if (sm->added >= sm->max || !seen_add(&sm->seen, state))
		return 0;
	if (sm->has_thin_check) {
		r = save(sm, d, "check", sm->nr++);
		if (!r && sm->nr == BATCH)
			r = show_thin_check(sm);
	}
	if (!r && sm->has_auditor && sm->added % sm->audit_every == 0) {
		r = save_for_auditor(sm, d, sm->nr_audit++);
		if (!r && sm->nr_audit == AUDIT_BATCH)
			r = show_auditor(sm);
	}
	sm->added++;
	return r;
}

int samples_finish(struct samples *sm)
{
	int r = show_thin_check(sm);

	return r ? r : show_auditor(sm);
}

const char *samples_verdict(const struct samples *sm)
{
	return sm->verdict;
}

uint64_t samples_checked(const struct samples *sm)
{
	return sm->checked;
}

uint64_t samples_audited(const struct samples *sm)
{
	return sm->audited;
}

struct samples *samples_new(uint64_t max, unsigned audit_every)
{
	struct samples *sm = must_alloc(1, sizeof(*sm));
	const char *tmp = getenv("TMPDIR");

	snprintf(sm->dir, sizeof(sm->dir), "%s/thinbd-crash-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(sm->dir))
		abort();
	sm->max = max;
	sm->audit_every = audit_every;
	sm->has_thin_check = !access(THIN_CHECK, X_OK);
	sm->has_auditor = !access(PYTHON, X_OK) && !access(THINBD_AUDITOR, R_OK);
	return sm;
}

/* What was found to be damaged stays. */
void samples_free(struct samples *sm)
{
	char path[256];

	if (!sm)
		return;
	for (unsigned i = 0; i < AUDIT_BATCH && !sm->verdict[0]; i++) {
		path_of(sm, "check", i, path, sizeof(path));
		(void)unlink(path); /* it need not be there */
		path_of(sm, "audit", i, path, sizeof(path));
		(void)unlink(path); /* likewise */
	}
	if (!sm->verdict[0])
		(void)rmdir(sm->dir); /* a leftover in the temporary folder */
	seen_fini(&sm->seen);
	free(sm);
}
