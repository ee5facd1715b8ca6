"""The rows of the route table for what partners store to charge with: payment methods and customers."""

from __future__ import annotations

from gateway.api import customers, payment_methods
from gateway.api.lists import Page
from gateway.api.paths import Route

_READ = "transactions:read"
_WRITE = "transactions:write"

PAYMENT_METHODS: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/payment-methods",
        endpoint=payment_methods.create,
        summary="Store a payment method",
        tag="Payment methods",
        scope=_WRITE,
        body=payment_methods.CreatePaymentMethod,
        answers={201: payment_methods.StoredPaymentMethod},
        keyed=True,
        description=(
            "Tokens of one instrument at several providers under one id: a charge that names it may go to any of them."
            " The tokens are sealed and never shown again."
        ),
        example={
            "type": "card",
            "tokens": {"stripe": "pm_card_visa", "adyen": "ada/APPROVED"},
            "brand": "visa",
            "last4": "4242",
            "country": "DE",
        },
    ),
    Route(
        method="GET",
        path="/v1/payment-methods",
        endpoint=payment_methods.list_payment_methods,
        summary="List stored payment methods",
        tag="Payment methods",
        scope=_READ,
        query=payment_methods.PaymentMethodQuery,
        answers={200: Page[payment_methods.StoredPaymentMethod]},
    ),
    Route(
        method="GET",
        path="/v1/payment-methods/{id}",
        endpoint=payment_methods.show,
        summary="Show a stored payment method",
        tag="Payment methods",
        scope=_READ,
        answers={200: payment_methods.StoredPaymentMethod},
    ),
    Route(
        method="DELETE",
        path="/v1/payment-methods/{id}",
        endpoint=payment_methods.delete,
        summary="Delete a stored payment method",
        tag="Payment methods",
        scope=_WRITE,
        answers={204: None},
        description="Its tokens are erased. What was paid with it goes on: it can be captured, cancelled and refunded.",
    ),
)

CUSTOMERS: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/customers",
        endpoint=customers.create,
        summary="Create a customer",
        tag="Customers",
        scope=_WRITE,
        body=customers.WriteCustomer,
        answers={201: customers.StoredCustomer},
        keyed=True,
        example={"email": "ada@example.com", "name": "Ada Lovelace", "reference": "customer-7"},
    ),
    Route(
        method="GET",
        path="/v1/customers",
        endpoint=customers.list_customers,
        summary="List and search customers",
        tag="Customers",
        scope=_READ,
        query=customers.CustomerQuery,
        answers={200: Page[customers.StoredCustomer]},
        description="`email` finds the whole address only, in upper or lower case.",
    ),
    Route(
        method="GET",
        path="/v1/customers/{id}",
        endpoint=customers.show,
        summary="Show a customer",
        tag="Customers",
        scope=_READ,
        answers={200: customers.StoredCustomer},
    ),
    Route(
        method="PATCH",
        path="/v1/customers/{id}",
        endpoint=customers.update,
        summary="Change a customer",
        tag="Customers",
        scope=_WRITE,
        body=customers.WriteCustomer,
        answers={200: customers.StoredCustomer},
    ),
    Route(
        method="DELETE",
        path="/v1/customers/{id}",
        endpoint=customers.delete,
        summary="Erase a customer",
        tag="Customers",
        scope=_WRITE,
        answers={204: None},
        description=(
            "All that was stored of the customer is erased, and the tokens of their payment methods. Transactions keep"
            " what they showed."
        ),
    ),
)
