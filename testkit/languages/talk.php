<?php
// The part that all scripts in PHP share: lines of words come in, lines of JSON go out.
//
// SCRIPT version
// SCRIPT SERVICE ADDRESS,… NAME    until the end of the input
//
// SERVICE is memcached, redis or redis-cluster. Each ADDRESS is one server. NAME is a host name and a port that
// stand for all of them. testkit/src/languages/mod.rs describes the lines.

// The longest wait for a lifetime of a second to end.
const EXPIRES_WITHIN_S = 20;

error_reporting(E_ALL & ~E_DEPRECATED);
// A warning by which an extension reports a failure counts as one.
set_error_handler(function ($kind, $text) {
    if (error_reporting() & $kind) {
        throw new ErrorException($text);
    }
    return true;
});

function say(array $line): void
{
    fwrite(STDOUT, json_encode($line, JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE) . "\n");
}

/** Compares a result with what it must be, and says the comparison. */
function equal(string $what, callable $work, $wanted): void
{
    try {
        $got = $work();
        $wrong = $got === $wanted ? null : var_export($got, true) . ', expected ' . var_export($wanted, true);
    } catch (Throwable $error) {
        $wrong = get_class($error) . ': ' . $error->getMessage();
    }
    say(['check' => $what, 'wrong' => $wrong === null ? null : substr($wrong, 0, 500)]);
}

/** A lifetime ends. */
function ends(string $what, callable $isGone): void
{
    equal($what, function () use ($isGone) {
        $deadline = microtime(true) + EXPIRES_WITHIN_S;
        while (!$isGone()) {
            if (microtime(true) > $deadline) {
                return false;
            }
            usleep(50_000);
        }
        return true;
    }, true);
}

/** For clients that report a failure by a result. */
function expect(bool $isSo, string $what): void
{
    if (!$isSo) {
        throw new RuntimeException($what);
    }
}

/** Serves what `$connect(service, addresses, name)` returns, which has get, set, delete, many and check. */
function run(string $client, string $version, callable $connect): void
{
    global $argv;
    say(['client' => $client, 'version' => $version]);
    if ($argv[1] === 'version') {
        return;
    }
    $split = function (string $address): array {
        $at = strrpos($address, ':');
        return [substr($address, 0, $at), (int) substr($address, $at + 1)];
    };
    $cache = $connect($argv[1], array_map($split, explode(',', $argv[2])), $split($argv[3]));
    while (($line = fgets(STDIN)) !== false) {
        $words = explode(' ', trim($line));
        $command = array_shift($words);
        if ($command === 'check') {
            $cache->check($words[0]);
            say(['done' => true]);
            continue;
        }
        try {
            if ($command === 'get') {
                say(['values' => [$cache->get($words[0])]]);
            } elseif ($command === 'many') {
                say(['values' => $cache->many($words)]);
            } else {
                $command === 'set' ? $cache->set($words[0], $words[1]) : $cache->delete($words[0]);
                say(['ok' => true]);
            }
        } catch (Throwable $error) {
            say(['error' => get_class($error) . ': ' . $error->getMessage()]);
        }
    }
}
