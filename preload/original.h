/* SPDX-License-Identifier: MIT
 *
 * The functions that the wrappers call: what the target would have called without us. Usable at any moment,
 * also from other libraries' constructors before our own: each begins as a stub that looks all of them up.
 */
#ifndef WHYSTALL_ORIGINAL_H
#define WHYSTALL_ORIGINAL_H

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "record/hooks.h"

/* The mode that open() is given after its flags, or what else is there: passed on as it is. */
#define OPEN_MODE(last)                         \
	({                                      \
		va_list list_;                  \
		va_start(list_, last);          \
		int mode_ = va_arg(list_, int); \
		va_end(list_);                  \
		mode_;                          \
	})

struct original {
#define HOOK(class, ret, name, params, args, object, kernel) ret(*name) params;
#include "record/hooks.def"
#undef HOOK
};
extern struct original original __attribute__((visibility("hidden")));

/* original.syscall, for futex.c's assembly. */
extern long (*syscall_next)(long, long, long, long, long, long, long) __attribute__((visibility("hidden")));

/* The C library's own, for our own use: no interceptor sees them. */
extern int (*libc_mutex_lock)(pthread_mutex_t *) __attribute__((visibility("hidden")));
extern int (*libc_mutex_unlock)(pthread_mutex_t *) __attribute__((visibility("hidden")));

/* Looks up all that is not known yet. Idempotent, takes no lock. */
void original_find(void) __attribute__((visibility("hidden")));

extern char *program_invocation_short_name;
extern char **environ;

#endif
