/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_H
#define THINBD_H

/*
 * libthinbd: thin volumes in a pool whose metadata is dm-thin's own.
 *
 * Two ways in, and a front end needs nothing else:
 *
 *  - requests (create, snapshot, list ...): JSON in, JSON out.  thinbd_call()
 *    sends one to whoever serves the pool, or opens the pool for the call
 *    where nobody does; the caller need not know which.  One table, from
 *    thinbd_verbs(), says what there is.
 *  - a server's: thinbd_open(), exports, and the I/O of volumes.
 *
 * All functions return 0 or a negative errno, unless they say otherwise; a
 * `ret_` argument is written on success only.  A struct thinbd_error, which
 * may always be NULL, gets the code and one line for a person: what was
 * wrong, with what, and what to do.  Nothing here logs or prints.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define THINBD_API	  __attribute__((visibility("default")))
#define THINBD_MUST_CHECK __attribute__((warn_unused_result)) THINBD_API

#define THINBD_TEXT_MAX 512
#define THINBD_NAME_MAX 127 /* bytes of a volume's name, without the NUL */

struct thinbd_error {
	int code; /* negative errno, as returned */
	char text[THINBD_TEXT_MAX];
};

/* The version of the library, "0.1.0". */
THINBD_API const char *thinbd_version(void);

/* The errno's name as requests give it in "code": "ENOSPC". */
THINBD_API const char *thinbd_errname(int err);

/* Can this process use io_uring?  Tries it; false for a kernel without. */
THINBD_API bool thinbd_has_io_uring(void);

/* The version of libnbd that is in use, "1.14.2". */
THINBD_API const char *thinbd_libnbd_version(void);

/*
 * A size as people write it: bytes, or with K M G T P E (powers of 1024).
 * Returns 0; -EINVAL (malformed); -ERANGE (above 2^63 - 1).
 */
THINBD_MUST_CHECK int thinbd_parse_size(const char *text, uint64_t *ret_bytes);

/* Is an origin or a data device given so an NBD server's?  Else it is a path. */
THINBD_API bool thinbd_is_uri(const char *where);

/* ------------------------------------------------------------------------
 * Requests
 *
 * A request is   {"verb": "create", "args": {"names": ["vm1"], "size": "10G"}}
 * and the reply  {"result": ...}  or
 *                {"error": {"code": "EEXIST", "message": "vm1: ..."}}
 *
 * Keys of "args" are the parameters' names below.  Values by kind:
 *   FLAG            true or false
 *   SIZE            a number of bytes, or a string such as "10G"
 *   everything else a string
 *   repeated        an array of these, also where there is only one
 *   absent          leave the key out
 * An unknown verb or key, a missing or a superfluous value is -EINVAL.
 *
 * Results, sizes always in bytes, times in RFC 3339:
 *   init              {"pool", "uuid", "block_size", "data_bytes",
 *                      "metadata_bytes", "existed": bool, "notes": [line]}
 *   create            the volume, as in list; of several {"names": [name]},
 *                     those that are new.  ("name": "vm1" is taken as well.)
 *   rename set resize rollback
 *                     the volume, as in list
 *   snapshot          array of the volumes made
 *   delete            {"deleted": [name], "freed_bytes", "freeing_bytes" (of
 *                     what is large: the server goes on with it; "status" says
 *                     how much is left), "dry_run": bool}
 *   flatten           {"name", "copied_bytes", "done": bool}
 *   list              items {"name", "device", "size", "mapped_bytes",
 *                      "exclusive_bytes", "origin", "parent", "readonly",
 *                      "created", "clients", "description"}; a device that
 *                      has no name (made by a message) has "name": "#ID" and
 *                      "size": null
 *   show              the same and {"origin_identity": object or null,
 *                      "snapshots": [name], "flattening": bool, "transaction_id",
 *                      "creation_time", "snapshotted_time", "problem":
 *                      line or null (why it can not be served)}
 *   map               items {"offset", "length", "type"}
 *   diff              items {"offset", "length"}
 *   status            object as in the manual; with "dm": the line, a string
 *   grow              as status
 *   check             {"clean": bool, "errors": n, "leaks": n, "repaired":
 *                      bool, "blocks_checked": n, "problems": [{"message",
 *                      "volumes": [name]}]}; exit 1 where not clean
 *   dump              items that are strings; joined they are the document
 *   message           string: what dm-thin would answer, mostly ""
 */

/* What a value is: for completion and help; the service checks it. */
enum thinbd_kind {
	THINBD_KIND_FLAG,   /* no value: --readonly */
	THINBD_KIND_VOLUME, /* name of a volume that is there */
	THINBD_KIND_NAME,   /* name of one to be made */
	THINBD_KIND_SIZE,
	THINBD_KIND_RATE,   /* a size, with or without "/s" */
	THINBD_KIND_PATH,   /* of a file or device, made absolute by the front end */
	THINBD_KIND_ORIGIN, /* path, NBD URI or thin:NAME; paths made absolute */
	THINBD_KIND_TEXT,
	THINBD_KIND_SETTING, /* KEY=VALUE */
	THINBD_KIND_CHOICE,  /* one of `choices`, separated by '|' */
};

#define THINBD_POSITIONAL 0x1u /* by its place; otherwise the option --name */
#define THINBD_REQUIRED	  0x2u
#define THINBD_FRONT_ONLY 0x4u /* the front end's own; not sent */

struct thinbd_param {
	const char *name; /* key of "args"; as an option with '-' for '_' */
	enum thinbd_kind kind;
	unsigned flags;
	unsigned group;	     /* 0: once; n: repeated, in groups of n */
	const char *value;   /* how usage calls the value: "SIZE", "OLD" */
	const char *choices; /* of a CHOICE */
	const char *help;    /* one line */
};

#define THINBD_VERB_STREAMS 0x1u  /* the result comes in items */
#define THINBD_VERB_TEXT    0x2u  /* items are strings, parts of one text */
#define THINBD_VERB_FRONT   0x4u  /* the front end's own (serve); not a request */
#define THINBD_VERB_LONG    0x8u  /* reports progress, can be cancelled */
#define THINBD_VERB_CHANGES 0x10u /* changes the pool */

struct thinbd_verb {
	const char *name;
	const char *help; /* one line */
	unsigned flags;
	const struct thinbd_param *params; /* positional ones in their order */
	size_t nr_params;
};

/* All verbs, in the order of the manual.  Static storage. */
THINBD_API const struct thinbd_verb *thinbd_verbs(size_t *ret_nr);

/* One verb, or NULL. */
THINBD_API const struct thinbd_verb *thinbd_find_verb(const char *name);

/*
 * What a caller wants to hear of while a request runs; from the thread that
 * makes the call.  Any of these may be NULL.
 */
struct thinbd_observer {
	void *ctx;

	/* @total 0: not known.  Returns 0 to go on; else it is cancelled. */
	int (*progress)(void *ctx, uint64_t done, uint64_t total);

	/*
	 * An item of a verb that STREAMS, as a JSON text with a NUL at the
	 * end: what the server sent, and should be parsed as such.  Where this
	 * is NULL they come as an array in "result" (as one string for TEXT).
	 * Returns 0 to go on; else it is cancelled.
	 */
	int (*item)(void *ctx, const char *json, size_t len);
};

/*
 * Do @request on the pool in folder @dir: through DIR/control where it is
 * served, else by opening it for the call (waiting some seconds for another
 * such call to end).
 * @observer: may be NULL.
 * @ret_reply: a JSON text, free() it.
 * Returns 0 when there is a reply, also where it says "error"; -ENOMEM.
 */
THINBD_MUST_CHECK int thinbd_call(const char *dir, const char *request,
				  const struct thinbd_observer *observer,
				  char **ret_reply);

/* ------------------------------------------------------------------------
 * A server's side
 */

struct thinbd;
struct thinbd_volume;

enum thinbd_event {
	THINBD_EVENT_LOW_DATA, /* free data passed the low-water mark */
	THINBD_EVENT_LOW_METADATA,
	THINBD_EVENT_MODE,	     /* the pool's mode changed */
	THINBD_EVENT_ORIGIN_CHANGED, /* an origin is no longer what it was */
	THINBD_EVENT_NOTE,	     /* something worth a line in the log */
};

/* Called from any thread; must not call back into the library. */
typedef void thinbd_event_fn(void *ctx, enum thinbd_event event, const char *text);

/* A pool folder, or (dir NULL) the table style of dm-thin. */
struct thinbd_params {
	const char *dir;

	/* table style: a pool that has no registry, one volume of it */
	const char *metadata; /* path */
	const char *data;     /* path or NBD URI */
	uint32_t device;      /* dm-thin's device id */
	uint64_t size;	      /* bytes */
	const char *origin;   /* path or NBD URI, or NULL */
	uint64_t block_size;  /* must be the pool's; 0 = do not check */

	bool read_only;
	const char *default_volume; /* what the export "" means, or NULL */
	const char *command;	    /* for the owner record: "nbdkit" */
	thinbd_event_fn *event;	    /* may be NULL */
	void *event_ctx;
};

/*
 * Open a pool: locks it, checks it, rolls back or forward what a crash left
 * half done.  Makes no threads: see thinbd_start().
 * Strings are copied.
 * Returns 0; -EBUSY (who holds it); -EMEDIUMTYPE; -EUCLEAN, -EILSEQ and the
 * like (damaged: see `thinbd check`); -EINVAL (configuration: file, line).
 */
THINBD_MUST_CHECK int thinbd_open(const struct thinbd_params *params, struct thinbd **ret,
				  struct thinbd_error *e);

/*
 * Make the socket DIR/control (mode 0600), over which others can send
 * requests from thinbd_start() on.  Before the last fork, with the
 * privileges that writing into DIR needs.  Nothing for the table style.
 */
THINBD_MUST_CHECK int thinbd_listen(struct thinbd *t, struct thinbd_error *e);

/* Start threads and rings.  After the last fork; at most once. */
THINBD_MUST_CHECK int thinbd_start(struct thinbd *t, struct thinbd_error *e);

/*
 * Stop serving, commit, close; NULL is a no-op.  Volumes that are open still
 * are closed, too, and no request may be in one: nbdkit leaves those open
 * whose clients go away while it ends.
 * Returns what the last commit did; @t is gone in any case.
 */
THINBD_API int thinbd_close(struct thinbd *t);

/* Do a request here.  As thinbd_call(); from any thread. */
THINBD_MUST_CHECK int thinbd_request(struct thinbd *t, const char *request,
				     const struct thinbd_observer *observer,
				     char **ret_reply);

/* Numbers for debug output.  Cost: O(1), no I/O. */
struct thinbd_counters {
	uint64_t block_size; /* bytes */
	uint64_t data_used;  /* blocks */
	uint64_t data_total;
	uint64_t metadata_used; /* metadata blocks */
	uint64_t metadata_total;
	uint64_t commits; /* since the pool was opened */
};

THINBD_API void thinbd_counters(struct thinbd *t, struct thinbd_counters *ret);

/* --- exports ------------------------------------------------------------ */

struct thinbd_export {
	const char *name;
	const char *description; /* never NULL */
};

/*
 * Every volume, in the order of their names.  @fn returns 0 to go on.  In
 * table style there is one, called "".
 */
THINBD_MUST_CHECK int thinbd_exports(struct thinbd *t,
				     int (*fn)(void *ctx, const struct thinbd_export *x),
				     void *ctx);

/*
 * The name that the export "" stands for: the default volume, else the only
 * one.  -ENOENT where that can not be told (@e says how to list them).
 */
THINBD_MUST_CHECK int thinbd_default_export(struct thinbd *t,
					    char ret[THINBD_NAME_MAX + 1],
					    struct thinbd_error *e);

/* A volume's description, free() it; -ENOENT. */
THINBD_MUST_CHECK int thinbd_export_description(struct thinbd *t, const char *name,
						char **ret);

/*
 * Open a volume for I/O.  @name comes from a client: any bytes.  Its origin
 * is opened too, where it is not yet, and compared with what was recorded.
 * Returns 0; -ENOENT (no such name, or malformed: the same answer); -ESTALE
 * (the origin changed: @e has what was recorded and what is there); what
 * opening the origin said.
 */
THINBD_MUST_CHECK int thinbd_volume_open(struct thinbd *t, const char *name,
					 bool read_only, struct thinbd_volume **ret,
					 struct thinbd_error *e);
THINBD_API void thinbd_volume_close(struct thinbd_volume *v); /* NULL is a no-op */

/* Bytes; as of the open. */
THINBD_API uint64_t thinbd_volume_size(const struct thinbd_volume *v);
THINBD_API bool thinbd_volume_read_only(const struct thinbd_volume *v);
THINBD_API const char *thinbd_volume_name(const struct thinbd_volume *v);

/* --- I/O ---------------------------------------------------------------- */

/*
 * Offsets and lengths are bytes, of any alignment, inside the volume
 * (-ERANGE otherwise).  By several threads at once.  Errors: -EIO; -ENOSPC;
 * -EROFS; -ESTALE (the origin changed meanwhile); -ESHUTDOWN.
 */
#define THINBD_FUA	 0x1u /* durable on return */
#define THINBD_MAY_TRIM	 0x2u /* zero: may give the space back */
#define THINBD_FAST_ZERO 0x4u /* zero: -ENOTSUP rather than writing zeros */

THINBD_MUST_CHECK int thinbd_read(struct thinbd_volume *v, void *buf, uint64_t offset,
				  size_t len);
THINBD_MUST_CHECK int thinbd_write(struct thinbd_volume *v, const void *buf,
				   uint64_t offset, size_t len, unsigned flags);
THINBD_MUST_CHECK int thinbd_trim(struct thinbd_volume *v, uint64_t offset, uint64_t len,
				  unsigned flags);
THINBD_MUST_CHECK int thinbd_zero(struct thinbd_volume *v, uint64_t offset, uint64_t len,
				  unsigned flags);
THINBD_MUST_CHECK int thinbd_flush(struct thinbd_volume *v);

/* A hint that this will be read soon. */
THINBD_MUST_CHECK int thinbd_cache(struct thinbd_volume *v, uint64_t offset,
				   uint64_t len);

enum thinbd_extent {
	THINBD_EXTENT_DATA,   /* in the pool, this volume's alone */
	THINBD_EXTENT_SHARED, /* in the pool, perhaps also others' */
	THINBD_EXTENT_ORIGIN, /* read from the origin, which has data there */
	THINBD_EXTENT_ZERO,   /* reads as zeros, takes no space */
};

/*
 * What the range is made of: in order, without gaps, never past its end,
 * neighbours of one kind joined.  @fn returns 0 to go on; anything else
 * ends it and is returned.  @fn runs inside the library: it only takes notes.
 */
THINBD_MUST_CHECK int thinbd_extents(struct thinbd_volume *v, uint64_t offset,
				     uint64_t len,
				     int (*fn)(void *ctx, uint64_t offset, uint64_t len,
					       enum thinbd_extent kind),
				     void *ctx);

#ifdef __cplusplus
}
#endif

#endif
