<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace LlmProxy;

/** The provider cannot be reached, does not answer in time, or broke off. */
final class UpstreamException extends \RuntimeException
{
}
