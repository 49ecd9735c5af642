/* A small runner for Criterion's tests under the thread sanitizer.
 *
 * Criterion's own puts its arena at addresses that the sanitizer forbids and gives up
 * (https://github.com/Snaipe/Criterion/issues/274). So in that variant only, main() and the few
 * functions that a test calls are these: every test runs in a fork, a failed assertion prints and
 * exits, the exit code or signal is compared with what the test expects. Parameterised tests and
 * theories are not known here. --filter PATTERN (a glob over "suite/test") runs some of them. */
#if defined(__SANITIZE_THREAD__)
#define OWN_RUNNER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OWN_RUNNER 1
#endif
#endif

#ifdef OWN_RUNNER
#include <criterion/criterion.h>
#include <criterion/event.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED 97 /* exit code of a test with a failed assertion */

extern struct criterion_test *__start_cr_tst[];
extern struct criterion_test *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

static const struct criterion_test *running;
static bool failed; /* an expectation (cr_expect) did */

/* ---- what a test calls ---- */

void criterion_send_assert(struct criterion_assert_stats *stats)
{
    if (!stats->passed)
        fprintf(stderr, "%s:%u: %s/%s: %s\n", stats->file, stats->line, running->category, running->name,
                stats->message);
}

void criterion_abort_test(void)
{
    exit(FAILED);
}

void criterion_continue_test(void)
{
    failed = true;
}

void cri_asserts_passed_incr(void)
{
}

static const struct criterion_test_extra_data *suite_data(void)
{
    for (struct criterion_suite **s = __start_cr_sts; s < __stop_cr_sts; s++)
        if (*s != NULL && strcmp((*s)->name, running->category) == 0)
            return (*s)->data;
    return NULL;
}

void criterion_internal_test_setup(void)
{
    const struct criterion_test_extra_data *suite = suite_data();

    if (suite != NULL && suite->init != NULL)
        suite->init();
    if (running->data->init != NULL)
        running->data->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
    fn();
}

void criterion_internal_test_teardown(void)
{
    const struct criterion_test_extra_data *suite = suite_data();

    if (running->data->fini != NULL)
        running->data->fini();
    if (suite != NULL && suite->fini != NULL)
        suite->fini();
}

/* ---- running ---- */

static bool run(const struct criterion_test *test)
{
    int status;
    pid_t child;

    running = test;
    fflush(NULL);
    child = fork();
    if (child == 0) {
        test->test();
        exit(failed ? FAILED : 0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("runner");
        exit(2);
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == test->data->signal)
        return true;
    if (WIFEXITED(status) && test->data->signal == 0 && WEXITSTATUS(status) == test->data->exit_code)
        return true;
    fprintf(stderr, "[FAIL] %s::%s: %s %d\n", test->category, test->name, WIFSIGNALED(status) ? "signal" : "exit code",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return false;
}

static bool wanted(const struct criterion_test *test, const char *filter)
{
    char name[512];

    snprintf(name, sizeof(name), "%s/%s", test->category, test->name);
    return !test->data->disabled && (filter == NULL || fnmatch(filter, name, 0) == 0);
}

int main(int argc, char **argv)
{
    const char *filter = NULL;
    int tested = 0, passing = 0;

    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--filter") == 0)
            filter = argv[i + 1];
    for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
        if (*t == NULL || !wanted(*t, filter))
            continue;
        tested++;
        passing += run(*t);
    }
    fprintf(stderr, "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: 0 \n", tested, passing,
            tested - passing);
    return passing == tested ? 0 : 1;
}
#endif
