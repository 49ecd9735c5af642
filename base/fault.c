/* The handler runs with SIGBUS unblocked (SA_NODEFER), so that jumping out of it needs no change of the signal
 * mask: that is what makes a guard cheap. */
#include "base/fault.h"

#include <pthread.h>
#include <signal.h>

__thread struct fault *fault_innermost;

static struct sigaction fault_before; /* what was set before us: the default, or a sanitizer's */

static void on_bus_error(int signal, siginfo_t *info, void *context)
{
    const char *at = info->si_addr;

    (void)context;
    for (struct fault *f = info->si_code > 0 ? fault_innermost : NULL; f != NULL; f = f->outer) {
        if (at < f->from || at >= f->to)
            continue;
        f->at = at;
        fault_innermost = f->outer;
        siglongjmp(f->env, 1);
    }
    sigaction(signal, &fault_before, NULL); /* the instruction runs again, and meets that one */
    if (info->si_code <= 0)
        raise(signal); /* it was sent by somebody: there is no such instruction */
}

static void fault_install(void)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_NODEFER};

    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &fault_before);
}

void fault_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, fault_install);
}
