/* SPDX-License-Identifier: MIT
 *
 * Expands hooks.def into the table of originals. A function that this C library lacks (sem_clockwait
 * before 2.30, epoll_pwait2 before 2.35, and all of libpthread until it is loaded) keeps its stub, which
 * looks again at every call and else answers ENOSYS.
 */
#include <errno.h>

#include "link.h"
#include "original.h"
#include "shim.h"

int (*libc_mutex_lock)(pthread_mutex_t *);
int (*libc_mutex_unlock)(pthread_mutex_t *);

/* How each class of function says that it is not there. */
#define ABSENT_POSIX(ret) return (ret)ENOSYS
#define ABSENT_ERRNO(ret)       \
	do {                    \
		errno = ENOSYS; \
		return (ret)-1; \
	} while (0)
#define ABSENT_MUTEX_LOCK ABSENT_POSIX
#define ABSENT_MUTEX_TRY ABSENT_POSIX
#define ABSENT_MUTEX_UNLOCK ABSENT_POSIX
#define ABSENT_COND_WAIT ABSENT_POSIX
#define ABSENT_COND_SIGNAL ABSENT_POSIX
#define ABSENT_C11(ret) return (ret)2 /* thrd_error */
#define ABSENT_C11_LOCK ABSENT_C11
#define ABSENT_C11_UNLOCK ABSENT_C11
#define ABSENT_C11_WAIT ABSENT_C11
#define ABSENT_RW_READ ABSENT_POSIX
#define ABSENT_RW_TRY_READ ABSENT_POSIX
#define ABSENT_RW_WRITE ABSENT_POSIX
#define ABSENT_RW_UNLOCK ABSENT_POSIX
#define ABSENT_SPIN_LOCK ABSENT_POSIX
#define ABSENT_SPIN_TRY ABSENT_POSIX
#define ABSENT_SPIN_UNLOCK ABSENT_POSIX
#define ABSENT_JOIN ABSENT_POSIX
#define ABSENT_BARRIER ABSENT_POSIX
#define ABSENT_FUTEX ABSENT_ERRNO
#define ABSENT_SEM_WAIT ABSENT_ERRNO
#define ABSENT_SEM_TRY ABSENT_ERRNO
#define ABSENT_SEM_POST ABSENT_ERRNO
#define ABSENT_SEM_GONE ABSENT_ERRNO
#define ABSENT_READY_EPOLL ABSENT_ERRNO
#define ABSENT_READY_EPOLL2 ABSENT_ERRNO
#define ABSENT_READY_POLL ABSENT_ERRNO
#define ABSENT_READY_PPOLL ABSENT_ERRNO
#define ABSENT_READY_SELECT ABSENT_ERRNO
#define ABSENT_READY_PSELECT ABSENT_ERRNO
#define ABSENT_READY_URING ABSENT_ERRNO
#define ABSENT_CALL ABSENT_ERRNO
#define ABSENT_NAME(ret)           \
	do {                       \
		errno = ENOSYS;    \
		return EAI_SYSTEM; \
	} while (0)
#define ABSENT_LIFE ABSENT_ERRNO
#define ABSENT_LIFE_THREAD ABSENT_POSIX
#define ABSENT_END(ret) for (;;)

#define HOOK(class, ret, name, params, args, object, kernel) \
	static ret stub_##name params                        \
	{                                                    \
		original_find();                             \
		if (original.name != stub_##name)            \
			return original.name args;           \
		ABSENT_##class(ret);                         \
	}
#include "record/hooks.def"
#undef HOOK

struct original original = {
#define HOOK(class, ret, name, params, args, object, kernel) .name = stub_##name,
#include "record/hooks.def"
#undef HOOK
};

long (*syscall_next)(long, long, long, long, long, long, long) = stub_syscall;

void original_find(void)
{
	void *found;
#define HOOK(class, ret, name, params, args, object, kernel)                     \
	if (relaxed(original.name) == stub_##name && (found = link_next(#name))) \
		store(original.name, (ret(*) params)found);
#include "record/hooks.def"
#undef HOOK
	if (!libc_mutex_lock || !libc_mutex_unlock) {
		store(libc_mutex_unlock, (int (*)(pthread_mutex_t *))link_libc("pthread_mutex_unlock"));
		store(libc_mutex_lock, (int (*)(pthread_mutex_t *))link_libc("pthread_mutex_lock"));
	}
	store(syscall_next, original.syscall);
	if (!shim.c11 && relaxed(original.mtx_lock) != stub_mtx_lock)
		store(shim.c11, (void *)original.mtx_lock == link_libc("mtx_lock"));
	if (!shim.rwlocks) /* getentropy and today's read-write locks came with the same glibc, 2.25 */
		store(shim.rwlocks, link_libc("getentropy") != NULL);
	if (!shim.clock)
		store(shim.clock, (int (*)(int, void *))link_libc("clock_gettime"));
}
