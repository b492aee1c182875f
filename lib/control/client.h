/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_CONTROL_CLIENT_H
#define THINBD_CONTROL_CLIENT_H

#include "thinbd.h"
#include "util/errors.h"

/*
 * Ask the server of the pool in @dir.
 * @observer: may be NULL; where its item is NULL, items are collected.
 * @text: the verb's items are parts of a text (THINBD_VERB_TEXT); @streams:
 * it has items at all.
 * @ret_reply: free() it.
 * Returns 0 when there is a reply; -ENOENT (nobody serves the pool);
 * -ECANCELED; -ECONNRESET (the server went away: what it did is not known);
 * -EPROTO, -EACCES and others, with the reason in @e.
 */
THIN_MUST_CHECK int thin_client_call(const char *dir, const char *request, bool streams,
				     bool text, const struct thinbd_observer *observer,
				     char **ret_reply, struct thin_error *e);

#endif
